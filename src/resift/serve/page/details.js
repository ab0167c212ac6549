// What opens under a hit: the whole text, where it is from, and why it has its score.

import { legend, passage, scrollToRead, signed } from "./passage.js";
import { element, shortened } from "./text.js";

const NO_REASON = ["empty", "not_text", "failed", "waiting"];

// `tools.explain(hit)` and `tools.passage(hit)` ask the server; without them it is not asked.
export function details(hit, tools) {
  const box = element("details");
  box.append(element("summary", tools.explain ? "Whole text, and why" : "Whole text"));
  box.addEventListener("toggle", () => box.open && fill(box, hit, tools), { once: true });
  return box;
}

function fill(box, hit, tools) {
  const text = element("div");
  box.append(text);
  show(text, hit);
  if (tools.explain && hit.text && !NO_REASON.includes(hit.status)) {
    box.append(...explaining(text, hit, tools));
  }
  const list = facts(hit);
  box.append(list);
  if (tools.passage) addPlace(list, hit, tools);
}

function show(box, hit, explanation = null) {
  if (!hit.text) {
    box.append(element("p", "There is no text.", "kind"));
    return;
  }
  const block = passage(hit, explanation);
  box.replaceChildren(block);
  scrollToRead(block);
}

function explaining(text, hit, tools) {
  const said = element("div");
  said.setAttribute("role", "status");
  const button = element("button", "Which sentences moved the score?");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    said.replaceChildren(element("p", "Reading it once without each sentence …", "kind"));
    try {
      const explanation = await tools.explain(hit);
      show(text, hit, explanation);
      said.replaceChildren(legend(explanation));
      button.remove();
    } catch (error) {
      said.replaceChildren(element("p", error.message, "problem"));
      button.disabled = false;
    }
  });
  return [said, button];
}

// The passage as the index has it now: it may have changed since the ranking was made.
async function addPlace(list, hit, tools) {
  const note = element("p", "", "kind");
  note.setAttribute("role", "status");
  list.after(note);
  try {
    const found = await tools.passage(hit);
    if (found.text !== hit.text) note.textContent = "The index has another text for it by now.";
  } catch (error) {
    note.textContent = error.message;
  }
}

function facts(hit) {
  const at = hit.citation;
  const whole = (value) => value.toLocaleString("en");
  const entries = {
    "Id": hit.id,
    "Source": at?.uri,
    "Place": at && [
      `characters ${whole(at.start)} to ${whole(at.end)}`,
      at.page === null ? "" : `page ${at.page}`,
      at.row === null ? "" : `row ${at.row}`,
      at.heading && `“${at.heading}”`,
    ].filter(Boolean).join(", "),
    "Score": sum(hit),
    "First stage": hit.first_stage_score === null || hit.first_stage_score === undefined
      ? "" : `score ${Number(hit.first_stage_score.toPrecision(6))}`,
    "Metadata": Object.keys(hit.metadata ?? {}).length ? JSON.stringify(hit.metadata) : "",
  };
  const list = element("dl");
  for (const [name, value] of Object.entries(entries)) {
    if (!value) continue;
    const said = element("dd");
    said.append(element("bdi", shortened(value, 2000)));
    list.append(element("dt", name), said);
  }
  return list;
}

// The sum that the order is by.
function sum(hit) {
  if (hit.logit === null || hit.logit === undefined) return "";
  const parts = [`logit ${signed(hit.logit)}`];
  if (hit.fusion) parts.push(`first stage ${signed(hit.fusion)}`);
  if (hit.feedback) parts.push(`feedback ${signed(hit.feedback)}`);
  return `${Number(hit.score.toPrecision(6))} from ${parts.join(", ")}`;
}

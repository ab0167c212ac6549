"use strict";
// Shows the candidate that the server names, and sends it the keys. All texts go in as text.

const part = (id) => document.getElementById(id);
const KEYS = { b: "back", s: "skip", n: "next query", q: "quit" };
let seen = null; // the query and the document on the screen: what a key is about
let grades = [];

async function ask(path, options) {
  document.body.ariaBusy = "true";
  try {
    const answer = await fetch(path, options);
    const state = await answer.json();
    if (answer.ok) {
      show(state);
    } else if (answer.status === 409) {
      return ask("sheet"); // judged in another window: show where it is now
    } else {
      part("note").textContent = state.error;
    }
  } catch {
    part("note").textContent = "The server does not answer: is `resift judge` still running?";
  }
  document.body.ariaBusy = "false";
}

function press(key) {
  if (document.body.ariaBusy === "true") return;
  const body = JSON.stringify({ key, seen });
  ask("press", { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

function show(state) {
  const sheet = state.sheet;
  part("candidate").hidden = !sheet;
  part("problems").replaceChildren();
  if (state.ended) {
    end(`${state.judged} judged, all of it saved. You may close this page.`);
    return;
  }
  grades = state.grades;
  seen = sheet ? sheet.seen : null;
  part("keys").replaceChildren(...buttons());
  part("note").textContent = sheet ? "" : `Nothing is left to judge. ${state.judged} judged now.`;
  if (!sheet) {
    part("place").textContent = part("query").textContent = "";
    return;
  }
  part("place").textContent = place(sheet, state.judged);
  part("query").textContent = sheet.query;
  part("id").textContent = sheet.id;
  part("problems").append(...sheet.problems.map((problem) => element("li", problem)));
  part("title").replaceChildren(...pieces(sheet.title));
  part("text").replaceChildren(...pieces(sheet.text));
  window.scrollTo(0, 0);
}

function end(line) {
  part("place").textContent = part("query").textContent = "";
  part("keys").replaceChildren();
  part("note").textContent = line;
  document.removeEventListener("keydown", onKey);
}

function place(sheet, judged) {
  const parts = [
    `query ${sheet.query_number} of ${sheet.queries}`,
    `candidate ${sheet.number} of ${sheet.count}`,
    `${judged} judged now`,
  ];
  const back = sheet.taken_back;
  if (back !== null) parts.push(`took back: ${back} ${grades[back]}`);
  return parts.join(" · ");
}

function pieces(marked) {
  return marked.map(([text, isMarked]) => (isMarked ? element("mark", text) : text));
}

function isUseful(key) {
  if (!seen) return key === "b" || key === "q";
  return key in KEYS || (/^[0-9]$/.test(key) && key < grades.length);
}

function buttons() {
  const meanings = [...grades.map((meaning, grade) => [String(grade), meaning]), ...Object.entries(KEYS)];
  const useful = meanings.filter(([key]) => isUseful(key));
  return useful.map(([key, meaning]) => {
    const button = element("button", "");
    button.append(element("kbd", key), ` ${meaning}`);
    button.addEventListener("click", () => { button.blur(); press(key); });
    return button;
  });
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function onKey(event) {
  // A key that is held down judges nothing that nobody has read.
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key === "Backspace" ? "b" : event.key;
  if (!isUseful(key)) return;
  event.preventDefault();
  press(key);
}

document.addEventListener("keydown", onKey);
ask("sheet");

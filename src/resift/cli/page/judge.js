"use strict";
// Shows the server's current item and sends it the keys. Documents are inserted as text only.

const part = (id) => document.getElementById(id);
const KEYS = { b: "back", s: "skip", n: "next query", q: "quit" };
let shown = null; // ids of the query and the document on the screen
let grades = [];

async function request(path, options) {
  document.body.ariaBusy = "true";
  try {
    const response = await fetch(path, options);
    const state = await response.json();
    if (response.ok) {
      show(state);
    } else if (response.status === 409) {
      return request("item"); // judged in another window: show the current item
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
  const body = JSON.stringify({ key, shown });
  request("press", { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

function show(state) {
  const item = state.item;
  part("candidate").hidden = !item;
  part("problems").replaceChildren();
  if (state.ended) {
    end(`${state.judged} judged, all of it saved. You may close this page.`);
    return;
  }
  grades = state.grades;
  shown = item ? item.shown : null;
  part("keys").replaceChildren(...buttons());
  part("note").textContent = item ? "" : `Nothing is left to judge. ${state.judged} judged now.`;
  if (!item) {
    part("progress").textContent = part("query").textContent = "";
    return;
  }
  part("progress").textContent = progress(item, state.judged);
  part("query").textContent = item.query;
  part("id").textContent = item.id;
  part("problems").append(...item.problems.map((problem) => element("li", problem)));
  part("title").replaceChildren(...pieces(item.title));
  part("text").replaceChildren(...pieces(item.text));
  window.scrollTo(0, 0);
}

function end(line) {
  part("progress").textContent = part("query").textContent = "";
  part("keys").replaceChildren();
  part("note").textContent = line;
  document.removeEventListener("keydown", onKey);
}

function progress(item, judged) {
  const parts = [
    `query ${item.query_number} of ${item.queries}`,
    `candidate ${item.number} of ${item.count}`,
    `${judged} judged now`,
  ];
  const back = item.taken_back;
  if (back !== null) parts.push(`took back: ${back} ${grades[back]}`);
  return parts.join(" · ");
}

function pieces(marked) {
  return marked.map(([text, isMarked]) => (isMarked ? element("mark", text) : text));
}

function isUseful(key) {
  if (!shown) return key === "b" || key === "q";
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
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

function onKey(event) {
  // Repeats of a key that is held down are ignored: they would judge unread documents.
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key === "Backspace" ? "b" : event.key;
  if (!isUseful(key)) return;
  event.preventDefault();
  press(key);
}

document.addEventListener("keydown", onKey);
request("item");

// The page: what is asked, and where the answer goes.

import * as api from "./api.js";
import { beginning, code, copied } from "./code.js";
import { asGiven, parsed } from "./documents.js";
import { EXAMPLES } from "./examples.js";
import { showAfter, showBefore } from "./hits.js";
import { drawReceipt, remarks, total } from "./receipt.js";
import { counted, element, part } from "./text.js";

const AGAIN = 3000; // milliseconds until a server that is not ready is asked again
const HERE = new URL(".", location).href.replace(/\/$/, "");
const PARTS = ["results", "receipt", "request"];
const FIELDS = {
  query: "query", documents: "documents", model: "model", index: "index", where: "where",
  top_n: "top-n", depth: "depth", budget_ms: "budget",
};

let running = null; // the AbortController of the request that is on its way
let sent = null; // the last request, for its code

const number = (id) => (part(id).value === "" ? {} : { [part(id).dataset.name]: part(id).valueAsNumber });
const isSearch = () => part("mode-search").checked;

function rankBody() {
  const { documents } = parsed(part("documents").value);
  const long = part("long").value;
  return {
    query: part("query").value,
    documents,
    model: part("model").value,
    ...number("top-n"),
    ...number("budget"),
    ...(long === "cut" ? {} : { long_documents: long }),
  };
}

function searchBody() {
  const where = part("where").value.trim();
  const isReranked = part("rerank").checked;
  return {
    query: part("query").value,
    index: part("index").value,
    ...number("top-n"),
    ...(isReranked ? number("depth") : { rerank: false }),
    mode: part("retrieve").value,
    ...(where ? { where } : {}),
    ...number("budget"),
    stream: true,
  };
}

async function rank(body, signal) {
  const explain = async (hit) => (await api.ask("v1/rank", explainBody(body, hit))).explanations[0];
  before(body, asGiven(body.documents), { explain });
  after(await api.ask("v1/rank", body, signal));
}

async function search(body, signal) {
  const explain = async (hit) => (await api.ask("v1/rank", explainBody(body, hit))).explanations[0];
  const passage = (hit) =>
    api.ask(`v1/passages/${encodeURIComponent(hit.id)}?index=${encodeURIComponent(body.index)}`);
  const tools = body.rerank === false ? { passage } : { explain, passage };
  const events = api.stream("v1/search", body, signal);
  await api.finished(events, "ranking", (name, data) => {
    if (signal.aborted) return;
    if (name === "first_stage") before(body, data.hits, tools);
    if (name === "ranking") after(data);
  });
}

function explainBody({ query, model, long_documents }, { id, title, text }) {
  return { query, model, long_documents, documents: [{ id, title, text }], explain: 1 };
}

async function send() {
  if (!part("form").reportValidity()) return;
  running?.abort();
  const controller = new AbortController();
  running = controller;
  const isSearching = isSearch();
  const body = isSearching ? searchBody() : rankBody();
  sent = { path: isSearching ? "v1/search" : "v1/rank", body, base: HERE };
  begin(isSearching);
  try {
    await (isSearching ? search : rank)(body, controller.signal);
  } catch (error) {
    if (running === controller) fail(error);
  }
  if (running === controller) end();
}

function begin(isSearching) {
  problem("");
  for (const id of PARTS) part(id).hidden = true;
  part("status").textContent = isSearching ? "Searching …" : "Ranking …";
  part("results").ariaBusy = "true";
  part("stop").hidden = false;
}

function end() {
  running = null;
  part("results").ariaBusy = "false";
  part("stop").hidden = true;
}

function before(body, hits, tools) {
  part("remarks").replaceChildren();
  showBefore(body.query, hits, tools);
  part("results").hidden = hits.length === 0;
  if (body.rerank !== false && hits.length) {
    part("status").textContent = `${counted(hits.length, "hit")} in the order before. Reranking …`;
  }
}

function after({ hits, receipt }) {
  showAfter(hits, receipt);
  part("results").hidden = hits.length === 0;
  part("remarks").replaceChildren(...remarks(receipt).map((line) => element("li", line)));
  drawReceipt(receipt);
  drawCode();
  part("receipt").hidden = part("request").hidden = false;
  const moved = hits.filter((hit) => hit.rank !== hit.first_stage_rank).length;
  const how = receipt.model === "none" ? "not reranked" : `${moved} moved`;
  part("status").textContent = hits.length
    ? `${counted(hits.length, "hit")} in ${total(receipt)}, ${how}.`
    : `Nothing found, in ${total(receipt)}.`;
}

function drawCode() {
  const choice = part("cohere-choice");
  choice.hidden = sent.path !== "v1/rank";
  if (choice.hidden && choice.firstElementChild.checked) setLanguage("curl");
  part("code").textContent = beginning(written());
  part("copied").textContent = "";
}

function setLanguage(value) {
  document.querySelector(`input[name=language][value=${value}]`).checked = true;
}

function written() {
  const language = document.querySelector("input[name=language]:checked").value;
  return code(language, { ...sent, hasKey: api.key() !== null });
}

function fail(error) {
  for (const id of PARTS) part(id).hidden = true;
  part("status").textContent = "";
  if (error.name === "AbortError") {
    part("status").textContent = "Stopped.";
    return;
  }
  if (error.kind === "unauthorized") askForKey();
  problem(sentence(error), error.field);
  if (error.kind === "overloaded" && error.retryAfter) {
    const request = sent;
    setTimeout(() => {
      if (request === sent && !running) problem("The server was busy. Try again now.");
    }, 1000 * error.retryAfter);
  }
}

function sentence(error) {
  if (error.kind !== "overloaded" || !error.retryAfter) return error.message;
  return `The server is busy: try again in ${Math.ceil(error.retryAfter)} s. (${error.message})`;
}

// Says what is wrong, beside the field that it is about.
function problem(line, field = null) {
  part("problem").replaceChildren(...(line ? [element("span", line)] : []));
  for (const id of Object.values(FIELDS)) part(id).removeAttribute("aria-invalid");
  const id = FIELDS[field?.split(".")[0]];
  if (line && id) part(id).setAttribute("aria-invalid", "true");
}

function askForKey() {
  part("key-note").textContent = api.key()
    ? "The server does not know this key." : "This server needs a key. Ask whoever started it.";
  part("key-form").hidden = false;
  part("key-used").hidden = true;
  part("key").focus();
}

// Fill the pickers; asks again until the server is ready.
async function look() {
  try {
    const ready = await api.readiness();
    fill("model", ready.models.map((name) => [name, name]));
    const waiting = ready.waiting_for.join(", ");
    part("server").textContent = waiting ? `Not open yet: ${waiting}` : "";
    showIndexes(await api.ask("v1/indexes"));
    part("key-used").hidden = api.key() === null;
    if (waiting) setTimeout(look, AGAIN);
  } catch (error) {
    if (error.kind === "unauthorized") askForKey();
    else part("server").textContent = error.message;
  }
}

function showIndexes(indexes) {
  fill("index", indexes.map(({ name, version, passages }) => [
    name, version === null ? `${name}, not open yet` : `${name}, ${counted(passages, "passage")}`,
  ]));
  part("mode-search").disabled = indexes.length === 0;
  part("no-index").hidden = indexes.length > 0;
}

function fill(id, options) {
  const select = part(id);
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => {
    const option = element("option", text);
    option.value = value;
    return option;
  }));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

function setMode() {
  document.body.dataset.mode = isSearch() ? "search" : "rank";
  part("documents").required = !isSearch();
  part("send").textContent = isSearch() ? "Search" : "Rank";
  part("top-n").placeholder = isSearch() ? "10" : "all";
  part("top-n").max = isSearch() ? 1000 : 1_000_000;
  part("depth").disabled = !part("rerank").checked;
}

function tryExample({ query, documents, topN = "", long = "cut" }) {
  const values = { query, documents, "top-n": topN, long, budget: "" };
  for (const [id, value] of Object.entries(values)) part(id).value = value;
  countDocuments();
  send();
}

function countDocuments() {
  part("count").textContent = parsed(part("documents").value).note;
}

let counting = 0;

function listen() {
  part("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  part("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
  });
  part("form").addEventListener("change", setMode);
  part("stop").addEventListener("click", () => { running?.abort(); part("send").focus(); });
  part("documents").addEventListener("input", () => {
    clearTimeout(counting);
    counting = setTimeout(countDocuments, 300);
  });
  part("key-form").addEventListener("submit", useKey);
  part("forget").addEventListener("click", () => { api.forget(); look(); });
  part("request").addEventListener("change", drawCode);
  part("copy").addEventListener("click", async () => {
    const isCopied = await copied(written());
    part("copied").textContent = isCopied ? "Copied." : "The browser does not let it be copied.";
  });
}

async function useKey(event) {
  event.preventDefault();
  try {
    api.keep(part("key").value);
  } catch (error) {
    part("key-note").textContent = error.message;
    return;
  }
  part("key").value = "";
  part("key-form").hidden = true;
  problem("");
  part("query").focus();
  await look();
}

function start() {
  for (const [id, name] of [["top-n", "top_n"], ["budget", "budget_ms"], ["depth", "depth"]]) {
    part(id).dataset.name = name;
  }
  for (const example of EXAMPLES) {
    const button = element("button", example.name, "plain");
    button.type = "button";
    button.addEventListener("click", () => tryExample(example));
    part("examples").append(" ", button);
  }
  part("before-box").open = matchMedia("(min-width: 60rem)").matches;
  listen();
  setMode();
  countDocuments();
  look();
}

start();

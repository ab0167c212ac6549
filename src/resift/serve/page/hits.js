// The hits: the order before, the order after, and how each hit moved from one to the other.

import { details } from "./details.js";
import {
  bestStart, counted, element, marked, part, queryTerms, shortened, unitOffsets,
} from "./text.js";

const STEP = 30; // hits that are drawn at once
const EXCERPT = 280; // characters
const LABEL = 90; // characters of a hit in the order before
const SEARCHED = 20_000; // characters that may become the excerpt
const NEAR = 60; // characters from the beginning: the excerpt begins there then

const STATUS = {
  waiting: "waiting for the model",
  empty: "empty: no text, or no word that the model knows",
  not_text: "not a text, so not read",
  late: "late: the deadline passed before its turn",
  failed: "failed: the model gave no number for it",
  not_reranked: "not reranked",
};

// What is on the page: the ranking's query, hits and receipt, and the first stage's hits.
let view = { hits: [], before: [], count: STEP };

// Show the first stage's order. `tools` has `explain(hit)` and `passage(hit)`, which may be null.
export function showBefore(query, hits, tools) {
  view = { query, terms: queryTerms(query), hits, before: hits, count: STEP, tools, stages: 0 };
  part("hits").replaceChildren(); // those of another request do not move into this one's
  draw();
}

// Show the ranking; hits move from where they were.
export function showAfter(hits, receipt) {
  const stages = Math.max(0, ...hits.map((hit) => hit.stages));
  Object.assign(view, { hits, receipt, stages });
  draw();
}

function draw() {
  const list = part("hits");
  const old = cards();
  const places = new Map([...old].map(([key, card]) => [key, card.getBoundingClientRect().top]));
  const opened = [...old].filter(([, card]) => card.querySelector("details").open);
  const focused = list.contains(document.activeElement) && document.activeElement.closest(".hit");
  list.replaceChildren(...view.hits.slice(0, view.count).map(card));
  const now = cards();
  for (const [key] of opened) if (now.has(key)) now.get(key).querySelector("details").open = true;
  if (focused) now.get(focused.dataset.key)?.querySelector("summary").focus();
  move(now, places);
  drawMore();
  drawBefore();
}

function cards() {
  return new Map([...part("hits").children].map((card) => [card.dataset.key, card]));
}

function move(now, places) {
  if (!places.size || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const [key, card] of now) {
    const way = (places.get(key) ?? innerHeight) - card.getBoundingClientRect().top;
    if (way === 0) continue;
    const from = { transform: `translateY(${way}px)`, opacity: places.has(key) ? 1 : 0 };
    card.animate([from, {}], { duration: 500, easing: "ease-in-out" });
  }
}

function drawMore() {
  const rest = view.hits.length - view.count;
  part("more").hidden = rest <= 0;
  part("more").textContent = `Show ${Math.min(rest, STEP)} more of ${view.hits.length}`;
}

part("more").addEventListener("click", () => {
  const first = view.count;
  drawUntil(first + STEP);
  part("hits").children[first].focus();
});

function drawUntil(count) {
  part("hits").append(...view.hits.slice(view.count, count).map(card));
  view.count = count;
  drawMore();
}

function card(hit) {
  const item = element("li", "", "hit");
  item.dataset.key = hit.index;
  item.tabIndex = -1;
  const body = element("div", "", "body");
  body.append(head(hit), excerpt(hit), about(hit), details(hit, view.receipt ? view.tools : {}));
  item.append(element("span", hit.rank, "rank"), body);
  return item;
}

function head(hit) {
  const line = element("div", "", "head");
  const title = element("h3", shortened(name(hit), 200) || "(no title)");
  title.dir = "auto";
  line.append(title, ...(view.receipt ? [moved(hit), score(hit)] : []));
  return line;
}

function name(hit) {
  if (hit.title) return hit.title;
  return hit.id === String(hit.index) ? `Document ${hit.index + 1}` : hit.id;
}

const isReranked = () => view.receipt.model !== "none";

function moved(hit) {
  if (!isReranked()) return "";
  const [before, after] = [hit.first_stage_rank, hit.rank];
  const node = element("span", "", "move");
  if (before === after) {
    node.append(element("span", `stays ${after}`));
    return node;
  }
  const [kind, sign] = before > after ? ["up", "▲"] : ["down", "▼"];
  node.classList.add(kind);
  const seen = element("span", `${sign} ${before} → ${after}`);
  seen.ariaHidden = "true";
  node.append(seen, element("span", `moved ${kind} from rank ${before} to ${after}`, "sr"));
  return node;
}

function score(hit) {
  const node = element("span", "", "score");
  if (hit.score === null) {
    if (isReranked()) node.append("no score");
    return node;
  }
  const bar = element("span", "", "bar");
  bar.ariaHidden = "true";
  const filled = element("span");
  filled.style.width = `${100 * hit.score}%`;
  bar.append(filled);
  const value = hit.score >= 0.0005 ? hit.score.toFixed(3) : "<0.001";
  node.append(bar, element("span", "score ", "sr"), value);
  node.title = `score ${hit.score}, logit ${hit.logit}`;
  return node;
}

// The sentence with most words of the query and what follows, of what the model read.
function excerpt(hit) {
  const node = element("p", "", "excerpt");
  node.dir = "auto";
  const [first, end] = unitOffsets(hit.text, hit.span[1] ? hit.span : [0, Infinity]);
  const text = hit.text.slice(first, Math.min(end, first + SEARCHED));
  const best = bestStart(text, view.terms);
  const start = best > NEAR ? best : 0;
  const line = shortened(text.slice(start), EXCERPT);
  if (first + start > 0 && line) node.append("… ");
  node.append(...marked(line, view.terms));
  return node;
}

function about(hit) {
  const line = element("p", "", "about");
  const source = sourceOf(hit);
  if (source) line.append(element("bdi", source));
  for (const [text, isRemark] of statuses(hit)) {
    line.append(element("span", text, isRemark ? "chip remark" : "chip"));
  }
  return line;
}

function sourceOf(hit) {
  const at = hit.citation;
  if (!at) return hit.title && hit.id !== String(hit.index) ? hit.id : "";
  const path = at.doc_id || at.uri;
  return [
    path.length > 120 ? `…${path.slice(-119)}` : path,
    at.page === null ? "" : `page ${at.page}`,
    at.row === null ? "" : `row ${at.row}`,
    shortened(at.heading, 120),
  ].filter(Boolean).join(" · ");
}

// What was read of a hit, as [text, is a remark] each.
function statuses(hit) {
  if (!view.receipt && hit.status === "not_reranked") return [[STATUS.waiting, false]];
  if (hit.status in STATUS) return [[STATUS[hit.status], hit.status !== "waiting"]];
  const all = [[readOf(hit), hit.status === "cut"]];
  if (hit.unknown_share > 0.5) all.push(["the model knows less than half of its words", true]);
  if (hit.stages < view.stages) {
    all.push([`scored by an early exit, after stage ${hit.stages} of ${view.stages}`, false]);
  }
  return all;
}

function readOf(hit) {
  const seen = counted(hit.tokens_seen, "token");
  if (hit.status === "ok" && !hit.windows) return `read whole, ${seen}`;
  const read = hit.windows
    ? `long: ${seen} read in ${counted(hit.windows, "window")}` : `cut: ${seen} read`;
  if (!hit.dropped_counted) return `${read}, the others not counted for lack of time`;
  return `${read}, ${hit.tokens_dropped.toLocaleString("en")} dropped`;
}

// The order before, with the rank after it: of hits on the page, and of those that left it.
function drawBefore() {
  const after = new Map(view.hits.map((hit) => [hit.index, hit]));
  const left = view.before.filter((hit) => !after.has(hit.index));
  const all = [...view.hits, ...left].sort((a, b) => a.first_stage_rank - b.first_stage_rank);
  part("before-box").hidden = !view.receipt || !isReranked();
  part("before").replaceChildren(...all.slice(0, 2 * STEP).map((hit) => before(hit, after)));
  if (all.length > 2 * STEP) {
    part("before").append(element("li", `… ${all.length - 2 * STEP} more`, "kind"));
  }
}

function before(hit, after) {
  const item = element("li");
  const is = after.get(hit.index);
  const label = element("bdi", labelOf(hit), "label");
  const rank = element("span", hit.first_stage_rank, "rank");
  if (!is) {
    item.append(rank, label, element("span", `below ${view.hits.length}`, "kind"));
    return item;
  }
  const button = element("button", "", "plain");
  button.type = "button";
  const way = is.first_stage_rank - is.rank;
  button.append(rank, label, element("span", `→ ${is.rank}`, way > 0 ? "up" : way < 0 ? "down" : ""));
  button.addEventListener("click", () => showHit(is));
  item.append(button);
  return item;
}

// What tells a hit from the others, which may be of the same document.
function labelOf(hit) {
  const most = hit.citation?.heading || shortened(hit.text, LABEL) || name(hit);
  return hit.title ? `${shortened(hit.title, LABEL)}: ${most}` : most;
}

function showHit(hit) {
  const at = view.hits.indexOf(hit);
  if (at >= view.count) drawUntil(at + 1);
  const target = part("hits").children[at];
  target.scrollIntoView({ block: "center" });
  target.focus({ preventScroll: true });
  target.animate([{ outline: "2px solid var(--s0)" }, { outline: "2px solid transparent" }], 1500);
}

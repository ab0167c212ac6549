// The whole text of a hit: what was read of it, and which sentences moved its score.

import { codePoints, counted, element, shown, unitOffsets } from "./text.js";

const SHOWN = 100_000; // characters of a text on the page
const LEAD = 20_000; // of them before the part that was read
const [STRONG, WEAK] = [0.5, 0.15]; // shares of the strongest effect

// Pieces {start, end, effect, isOutside} of a text, in order; all offsets count code points.
function pieces(hit, explanation) {
  const length = codePoints(hit.text);
  const [start, end] = explanation?.span ?? hit.span;
  if (!end) return [{ start: 0, end: length }];
  const parts = (explanation?.parts ?? []).filter((one) => one.where === "text");
  const all = [];
  let at = start;
  for (const one of parts) {
    if (one.start > at) all.push({ start: at, end: one.start });
    all.push({ start: one.start, end: one.end, effect: one.effect });
    at = one.end;
  }
  if (end > at) all.push({ start: at, end });
  if (start > 0) all.unshift({ start: 0, end: start, isOutside: true });
  if (end < length) all.push({ start: end, end: length, isOutside: true });
  return all;
}

function strongest(explanation) {
  const effects = explanation.parts.map((one) => Math.abs(one.effect ?? 0));
  return Math.max(...effects, Number.MIN_VALUE);
}

export function signed(effect) {
  return `${effect < 0 ? "−" : "+"}${Math.abs(effect).toFixed(2)}`;
}

// A sentence, coloured by its effect, which is written behind it.
function explained(text, effect, most) {
  const share = Math.abs(effect ?? 0) / most;
  if (!(share >= WEAK)) return [shown(text)];
  const kind = effect > 0 ? "supports" : "opposes";
  const mark = element("mark", text.trimEnd(), share >= STRONG ? `${kind} strong` : kind);
  mark.append(element("bdi", signed(effect), "effect"));
  return [mark, text.slice(text.trimEnd().length)];
}

// Text outside of what the logit is of. Of a long document that is the best of its windows.
function outside(text, characters, windows) {
  if (!text.trim()) return [text];
  const why = windows ? "not in the best window" : "not read";
  const label = element("bdi", `[${why}: ${counted(characters, "character")}] `, "label");
  return [label, element("span", text, "outside")];
}

// A block with the text of a hit, coloured if there is an explanation.
export function passage(hit, explanation = null) {
  const block = element("div", "", "passage");
  block.dir = "auto";
  block.tabIndex = 0; // long texts scroll, with the keyboard too
  block.setAttribute("role", "group");
  block.setAttribute("aria-label", "Text");
  const all = pieces(hit, explanation);
  const units = unitOffsets(hit.text, all.flatMap(({ start, end }) => [start, end]));
  const read = Math.max(all.findIndex((one) => !one.isOutside), 0);
  const from = Math.max((units[2 * read] ?? 0) - LEAD, 0);
  const to = from + SHOWN;
  const most = explanation && strongest(explanation);
  if (from > 0) block.append(omitted(from));
  all.forEach(({ start, end, effect, isOutside }, at) => {
    const text = hit.text.slice(Math.max(units[2 * at], from), Math.min(units[2 * at + 1], to));
    if (at === read) block.append(beginning(at > 0));
    if (isOutside) block.append(...outside(text, end - start, hit.windows));
    else block.append(...(most ? explained(text, effect, most) : [shown(text)]));
  });
  if (hit.text.length > to) block.append(omitted(hit.text.length - to));
  return block;
}

// The place where the part begins that was read; it is named only if something is before it.
function beginning(isNamed) {
  const node = element("bdi", isNamed ? "[best window] " : "", "start");
  node.classList.toggle("label", isNamed);
  return node;
}

// Scroll a block, which is on the page, to where the part begins that was read.
export function scrollToRead(block) {
  const start = block.querySelector(".start").getBoundingClientRect().top;
  block.scrollTop = start - block.getBoundingClientRect().top - block.clientHeight / 4;
}

function omitted(count) {
  return element("bdi", ` … ${counted(count, "character")} not shown … `, "label");
}

// What an explanation says beside the coloured text.
export function legend(explanation) {
  const list = element("p", "", "kind");
  const moving = explanation.parts.filter((one) => one.effect);
  if (!moving.length) {
    list.textContent = "There is nothing to compare: without its only sentence nothing is left.";
    return list;
  }
  list.append(
    element("mark", "supports", "supports"), " the document, ",
    element("mark", "counts against", "opposes"), " it. The number is how far the logit, ",
    `${signed(explanation.logit)}, falls without the sentence.`,
  );
  const title = explanation.parts.find((one) => one.where === "title");
  if (title?.effect) list.append(` The title: ${signed(title.effect)}.`);
  return list;
}

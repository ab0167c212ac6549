// Texts of documents and of the server: always inserted as text, whatever is in them.

export const part = (id) => document.getElementById(id);

// Control characters, and those that change the direction of the text around them.
const INVALID = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g;
const WORD = /[\p{L}\p{N}]+/gu;
const STEM = 5; // letters that "delete", "deleted" and "deletion" have in common
const SEARCHED = 20_000; // characters of a text that are searched for the best sentence
const STOP_WORDS = new Set(
  ("a about after all an and any are as at be before being by can could do does for from get has " +
  "have how i if in into is it its me my no not of on one or our out should so some than that " +
  "the their them there they this to too up was we what when where which who why will with " +
  "without would you your").split(" "),
);

export function element(name, text = "", className = "") {
  const node = document.createElement(name);
  if (text) node.textContent = shown(text);
  if (className) node.className = className;
  return node;
}

// The text with U+FFFD for each character that must not act; has the same length.
export function shown(text) {
  return String(text).replace(INVALID, "\ufffd");
}

export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

// At most so many characters, on one line.
export function shortened(text, limit) {
  const line = text.slice(0, 4 * limit).replace(/\s+/g, " ").trim();
  return line.length > limit || text.length > 4 * limit ? `${line.slice(0, limit)}…` : line;
}

export function codePoints(text) {
  let count = text.length;
  for (let unit = 1; unit < text.length; unit += 1) {
    const isPair = text.codePointAt(unit - 1) > 0xffff;
    if (isPair) [count, unit] = [count - 1, unit + 1];
  }
  return count;
}

// Python counts code points and JavaScript UTF-16 units: the units before each code point.
export function unitOffsets(text, points) {
  if (!/[\ud800-\udfff]/.test(text)) return points.map((point) => Math.min(point, text.length));
  const wanted = [...new Set(points)].sort((a, b) => a - b);
  const units = new Map();
  let unit = 0;
  let point = 0;
  for (const target of wanted) {
    while (point < target && unit < text.length) {
      unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
      point += 1;
    }
    units.set(target, unit);
  }
  return points.map((target) => units.get(target));
}

const stem = (word) => word.toLowerCase().slice(0, STEM);

export function queryTerms(query) {
  const words = query.slice(0, 1000).match(WORD) ?? [];
  return new Set(words.filter((word) => !STOP_WORDS.has(word.toLowerCase())).map(stem));
}

// Where the sentence begins that shares most words with the query; 0 if none shares any.
export function bestStart(text, terms) {
  let [best, start] = [0, 0];
  for (const sentence of text.slice(0, SEARCHED).matchAll(/(?:[^.!?\n]|[.!?](?!\s))+[.!?]*/g)) {
    const words = new Set((sentence[0].match(WORD) ?? []).map(stem));
    const shared = [...terms].filter((term) => words.has(term)).length;
    const weight = shared / Math.sqrt(100 + sentence[0].length);
    if (weight > best) [best, start] = [weight, sentence.index];
  }
  return start;
}

// Nodes of a text in which the words of the query are marked.
export function marked(text, terms) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    if (!terms.has(stem(match[0]))) continue;
    nodes.push(shown(text.slice(end, match.index)), element("mark", match[0]));
    end = match.index + match[0].length;
  }
  nodes.push(shown(text.slice(end)));
  return nodes;
}

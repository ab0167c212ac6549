// A receipt in words: the model, the time by stage, and what was left out and why.

import { counted, element, part, shown } from "./text.js";

const STAGES = {
  open: "open the index",
  table: "open its version",
  filter: "filter",
  embed: "embed the query",
  lexical: "find by words",
  dense: "find by meaning",
  fuse: "fuse both",
  fetch: "read the texts",
  load: "load the model",
  tokenise: "split into tokens",
  wait: "wait for the model",
  score: "score",
};
const COLOURS = 5; // for the longest stages; the others are grey

const CALIBRATIONS = {
  none: "Scores are not calibrated: they order hits, but are no probabilities.",
  model: "Scores are probabilities of relevance, as the makers of the model fitted them.",
  judged: "Scores are probabilities of relevance, fitted on your judgments.",
  judged_other_depth: "Scores were fitted on your judgments of lists of another depth.",
};

const percent = (share) => `${Math.round(100 * share)} %`;
const ms = (value) => (value < 9.95 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));

export function total(receipt) {
  return `${ms(receipt.timings_ms.total ?? 0)} ms`;
}

// What the user has to know before reading the hits.
export function remarks(receipt) {
  const of = (count) => `${count.toLocaleString("en")} of ${counted(receipt.depth, "document")}`;
  const known = [
    [receipt.partial, `Partial: ${receipt.reason}.`],
    [receipt.query_unknown_share,
      `The model does not know ${percent(receipt.query_unknown_share)} of the query.`],
    [receipt.cut, `Cut: ${of(receipt.cut)}, longer than the model reads.`],
    [receipt.skipped, `Not read: ${of(receipt.skipped)}, without a text for the model.`],
    [receipt.late, `Late: ${of(receipt.late)}, whose turn did not come before the deadline.`],
    [receipt.failed, `Failed: ${of(receipt.failed)}, for which the model gave no number.`],
    [receipt.mostly_unknown,
      `Unknown: ${of(receipt.mostly_unknown)}, over half of whose words the model does not know.`],
  ];
  const lines = known.filter(([isSo]) => isSo).map(([, line]) => line);
  return [...lines, ...receipt.notes].map((line) => line.replace(/\.\.$/, "."));
}

// Draw the whole receipt.
export function drawReceipt(receipt) {
  const isReranked = receipt.model !== "none";
  const entries = {
    "Model": isReranked
      ? `${receipt.model} on ${receipt.runtime}, fingerprint ${receipt.fingerprint}`
      : "none: this is the order of the first stage",
    "Time": time(receipt),
    "Read": isReranked ? read(receipt) : "",
    "Order": isReranked ? order(receipt) : "",
    "Scores": receipt.scored ? CALIBRATIONS[receipt.calibration] : "",
    "Index": receipt.version === null ? "" : version(receipt),
    "Left out": remarks(receipt),
  };
  const list = element("dl");
  for (const [name, value] of Object.entries(entries)) {
    if (!value.length && !value.nodeType) continue;
    const said = element("dd");
    if (Array.isArray(value)) value.forEach((line) => said.append(element("p", line)));
    else said.append(value.nodeType ? value : shown(value));
    list.append(element("dt", name), said);
  }
  part("receipt-lines").replaceChildren(list);
}

function read(receipt) {
  const lines = [
    `${receipt.scored} of ${counted(receipt.depth, "candidate")} scored, ` +
      `${counted(receipt.tokens, "token")} read` +
      (receipt.padding_share ? `, ${percent(receipt.padding_share)} of the work was padding.` : "."),
  ];
  if (receipt.cached) lines.push(`${receipt.cached} scores came from an earlier call.`);
  if (receipt.precomputed) lines.push(`${receipt.precomputed} documents were read before.`);
  if (receipt.windows) {
    lines.push(`${receipt.windowed} long ones were read in ${counted(receipt.windows, "window")}.`);
  }
  if (receipt.query_prompt) lines.push(`Before the query goes “${receipt.query_prompt}”.`);
  return lines;
}

function order(receipt) {
  const lines = [];
  if (receipt.pruned) {
    lines.push(
      `${receipt.pruned} stopped at an early exit: they could not reach the first hits any more.`,
    );
  }
  if (receipt.fusion_weight) {
    lines.push(`First-stage scores count with weight ${receipt.fusion_weight}.`);
  }
  if (receipt.first_stage_left_out) {
    lines.push(`First-stage scores do not count: ${receipt.first_stage_left_out}.`);
  }
  if (receipt.feedback_weight) {
    lines.push(`Likeness to the leading hits counts with weight ${receipt.feedback_weight}.`);
  }
  return lines;
}

function version(receipt) {
  const read = receipt.requests
    ? `, ${counted(receipt.requests, "request")} and ${(receipt.bytes / 1e6).toFixed(1)} MB`
    : "";
  return `version ${receipt.version}${read}`;
}

// A bar of the stages, with a legend that says the same in words.
function time(receipt) {
  const stages = Object.entries(receipt.timings_ms).filter(([name]) => name !== "total");
  const sum = stages.reduce((before, [, value]) => before + value, 0);
  const box = element("div");
  const bar = element("div", "", "stages");
  bar.ariaHidden = "true";
  const legend = element("ul", "", "legend");
  const longest = stages.map(([name]) => name)
    .sort((a, b) => receipt.timings_ms[b] - receipt.timings_ms[a]).slice(0, COLOURS);
  for (const [name, value] of stages.filter(([, value]) => value >= 0.05)) {
    const at = longest.indexOf(name);
    const colour = `s${at < 0 ? COLOURS : at}`;
    const piece = element("span", "", colour);
    piece.style.width = `${(100 * value) / sum}%`;
    bar.append(piece);
    const line = element("li");
    line.append(element("span", "", `swatch ${colour}`));
    line.append(`${STAGES[name] ?? shown(name)} ${ms(value)} ms`);
    legend.append(line);
  }
  box.append(element("p", `${total(receipt)} in all`), bar, legend);
  return box;
}

// The documents that the user wrote or pasted, and what is said about them.

import { counted, shown } from "./text.js";

// {documents, note}: a text a line, JSON lines, a JSON list, or a JSON object with "documents".
export function parsed(text) {
  const begin = text.trimStart()[0];
  if (begin !== "[" && begin !== "{") return lines(text);
  try {
    const value = JSON.parse(text);
    const list = Array.isArray(value) ? value : value.documents ?? [value];
    if (Array.isArray(list)) {
      return { documents: list, note: `${counted(list.length, "document")}, from JSON` };
    }
  } catch (error) {
    return jsonLines(text) ?? withReason(lines(text), error);
  }
  return lines(text);
}

function lines(text) {
  const documents = text.split(/\r\n|[\r\n]/).filter((line) => line.trim());
  const note = documents.length ? `${counted(documents.length, "document")}, one a line` : "";
  return { documents, note };
}

function withReason(plain, error) {
  const reason = shown(error.message.replace(/\s+/g, " ").slice(0, 200));
  return { ...plain, note: `${plain.note}; not read as JSON: ${reason}` };
}

function jsonLines(text) {
  const documents = [];
  for (const line of lines(text).documents) {
    try {
      documents.push(JSON.parse(line));
    } catch {
      return null; // texts that only begin like JSON
    }
  }
  return { documents, note: `${counted(documents.length, "document")}, from JSON lines` };
}

// Documents as hits of a first stage that gave them in this order.
export function asGiven(documents) {
  return documents.map((document, index) => {
    const fields = document !== null && typeof document === "object" ? document : {};
    const text = typeof document === "string" ? document : fields.text;
    return {
      rank: index + 1,
      index,
      id: String(fields.id ?? fields._id ?? index),
      title: typeof fields.title === "string" ? fields.title : "",
      text: typeof text === "string" ? text : "",
      first_stage_rank: fields.rank >= 1 ? Number(fields.rank) : index + 1,
      span: [0, 0],
      status: "waiting",
    };
  });
}

// Asks the server, and says in one line what went wrong.

const LOST = "The server does not answer: is `resift serve` still running?";
const CUT_OFF = "The connection ended before the answer was there; send it again.";
const NAME = "resift-key";

// A problem to show. `kind` is the server's, or "lost".
export class Fault extends Error {
  constructor(kind, message, field = null, retryAfter = null) {
    super(message);
    Object.assign(this, { kind, field, retryAfter });
  }
}

let memory = null; // holds the key where the browser lets the page store nothing

function storage() {
  try {
    return window.sessionStorage;
  } catch {
    return null;
  }
}

export function key() {
  return storage()?.getItem(NAME) ?? memory;
}

// Raises a Fault for what cannot be sent in a header.
export function keep(text) {
  const given = text.trim();
  if (/[^\x21-\x7e]/.test(given)) {
    throw new Fault("unauthorized", "A key has letters, digits and signs of ASCII, and no spaces.");
  }
  memory = given;
  storage()?.setItem(NAME, given);
}

export function forget() {
  memory = null;
  storage()?.removeItem(NAME);
}

async function send(path, body, signal) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const options = { headers, signal, cache: "no-store", credentials: "omit" };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  return answered(() => fetch(path, options), LOST);
}

// What a fetch or a read gives. A network that fails is a Fault, an abort is not.
async function answered(read, message) {
  try {
    return await read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault("lost", message);
  }
}

async function fault(response) {
  const answer = await response.json().catch(() => null);
  const error = answer?.error;
  if (!error?.message) {
    return new Fault("failed", `The server answered ${response.status} without saying why.`);
  }
  return new Fault(error.kind, error.message, error.field, error.retry_after_s);
}

// The answer as an object. Raises a Fault.
export async function ask(path, body = null, signal = undefined) {
  const response = await send(path, body, signal);
  if (!response.ok) throw await fault(response);
  return answered(() => response.json(), CUT_OFF);
}

// Whether models and indexes are open; the server says so with 503 too.
export async function readiness() {
  const response = await send("ready");
  const answer = await response.json().catch(() => null);
  if (!answer?.models) throw new Fault("failed", `The server answered ${response.status}.`);
  return answer;
}

// Server-sent events as [name, data], until their end. Raises a Fault.
export async function* stream(path, body, signal) {
  const response = await send(path, body, signal);
  if (!response.ok) throw await fault(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await answered(() => reader.read(), CUT_OFF);
    if (done) return;
    const parts = (waiting + value).split("\n\n");
    waiting = parts.pop();
    yield* parts.map(event).filter((one) => one !== null);
  }
}

// [name, data]; null for a comment.
function event(lines) {
  const fields = Object.fromEntries(
    lines.split("\n").map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
    }),
  );
  if (!fields.data) return null;
  const data = JSON.parse(fields.data);
  if (fields.event === "error") {
    const { kind, message, field, retry_after_s: retryAfter } = data.error;
    throw new Fault(kind, message, field, retryAfter);
  }
  return [fields.event, data];
}

export async function finished(events, last, onEvent) {
  for await (const [name, data] of events) {
    onEvent(name, data);
    if (name === last) return;
  }
  throw new Fault("lost", CUT_OFF);
}

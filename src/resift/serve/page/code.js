// A request as code to copy. A key is never part of it: the code reads RESIFT_KEY.

const SHOWN = 20_000; // characters of code on the page; copying takes all of it

// JSON whose invisible and direction-changing characters are escaped.
function json(value, indent) {
  return JSON.stringify(value, null, indent).replace(
    /[\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function python(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) {
    const items = value.map((item) => `${deeper}${python(item, deeper)},\n`);
    return items.length ? `[\n${items.join("")}${indent}]` : "[]";
  }
  if (typeof value === "object") {
    const items = Object.entries(value).map(
      ([name, item]) => `${deeper}${json(name)}: ${python(item, deeper)},\n`,
    );
    return items.length ? `{\n${items.join("")}${indent}}` : "{}";
  }
  return json(value);
}

function curl({ path, body, base, hasKey }) {
  const lines = [
    `curl ${body.stream ? "-N " : ""}'${base}/${path}'`,
    "-H 'Content-Type: application/json'",
    ...(hasKey ? ['-H "Authorization: Bearer $RESIFT_KEY"'] : []),
    "--data-binary @- <<'JSON'",
  ];
  return `${lines.join(" \\\n  ")}\n${json(body, 2)}\nJSON\n`;
}

function pythonCode({ path, body, base, hasKey }) {
  const { stream, ...plain } = body;
  const key = hasKey ? '\nheaders["Authorization"] = "Bearer " + os.environ["RESIFT_KEY"]' : "";
  return `import json
${hasKey ? "import os\n" : ""}from urllib.request import Request, urlopen

body = ${python(plain)}
headers = {"Content-Type": "application/json"}${key}
request = Request("${base}/${path}", json.dumps(body).encode(), headers)
with urlopen(request) as response:
    answer = json.load(response)
for hit in answer["hits"]:
    print(hit["rank"], hit["score"], hit["id"])
`;
}

function cohereCode({ body, base, hasKey }) {
  const texts = body.documents.map((document) => document?.text ?? document);
  const key = hasKey ? 'os.environ["RESIFT_KEY"]' : '"none"';
  const topN = body.top_n ? `\n    top_n=${body.top_n},` : "";
  const budget = body.budget_ms
    ? `\n    request_options={"additional_headers": {"x-budget-ms": "${body.budget_ms}"}},`
    : "";
  const left = texts.some((text, at) => text !== body.documents[at])
    ? "# This client sends texts: no titles, and no ids.\n"
    : "";
  return `${hasKey ? "import os\n\n" : ""}import cohere

client = cohere.ClientV2(api_key=${key}, base_url="${base}")
${left}response = client.rerank(
    model=${python(body.model)},
    query=${python(body.query)},
    documents=${python(texts.map((text) => (typeof text === "string" ? text : "")), "    ")},${topN}${budget}
)
for result in response.results:
    print(result.index, result.relevance_score)
`;
}

const WRITERS = { curl, python: pythonCode, cohere: cohereCode };

// The code of a request {path, body, base, hasKey} in a language.
export function code(language, request) {
  return WRITERS[language](request);
}

// The part of it that the page shows.
export function beginning(text) {
  return text.length > SHOWN
    ? `${text.slice(0, SHOWN)}\n… ${(text.length - SHOWN).toLocaleString("en")} more characters`
    : text;
}

// Whether the text is in the clipboard now.
export async function copied(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const box = document.createElement("textarea"); // pages without TLS have no clipboard
  box.value = text;
  document.body.append(box);
  box.select();
  const isCopied = document.execCommand("copy");
  box.remove();
  return isCopied;
}

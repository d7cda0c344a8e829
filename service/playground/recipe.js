// Three ways to write down how a picture was made: a link to this page, a curl line, Python.
// Each makes the same picture again. The API key is never written, only where it goes.

import { apiKey, apiUrl, pageUrl } from "./api.js";

const FIELDS = ["model", "prompt", "num_candidates", "temperature", "top_k", "top_p", "seed", "enhance"];
const NUMBERS = new Set(["num_candidates", "temperature", "top_k", "top_p", "seed"]);

/** "8" → 8; "8, 4" or "8 4" → [8, 4], one for each level of codes; else the text, for the server to refuse. */
export function oneOrMore(text) {
  const numbers = text.split(/[\s,]+/).filter(Boolean).map(Number);
  if (!numbers.length || numbers.some(Number.isNaN)) return text;
  return numbers.length > 1 ? numbers : numbers[0];
}

/** The parameters of a job that decide how it looks; those left open are left out. */
export function settingsOf(job) {
  const all = { model: job.model, enhance: job.enhance, ...job.parameters };
  return Object.fromEntries(FIELDS.filter((name) => isGiven(all[name])).map((name) => [name, all[name]]));
}

const isGiven = (value) => value !== null && value !== undefined && value !== "";

export const link = (settings) => pageUrl(new URLSearchParams(settings));

/** The settings in a link's fragment; null when there are none. */
export function settingsOfLink(fragment) {
  const given = [...new URLSearchParams(fragment.replace(/^#/, ""))].filter(([name]) => FIELDS.includes(name));
  if (!given.length) return null;
  return Object.fromEntries(given.map(([name, text]) => [name, valueOf(name, text)]));
}

function valueOf(name, text) {
  if (name === "enhance") return text === "true";
  return NUMBERS.has(name) ? oneOrMore(text) : text;
}

const shellQuoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** One line for a shell. The best picture is the answer itself; others are cut out of the JSON. */
export function curl(settings, n, rank) {
  const key = apiKey() ? ` -H "Authorization: Bearer $MINDALLE_API_KEY"` : "";
  const body = { ...settings, n, ...(rank ? { response_format: "b64_json" } : {}) };
  const accept = rank ? "" : " -H 'Accept: image/png'";
  const out = rank ? ` | jq -r '.data[${rank}].b64_json' | base64 -d > picture.png` : " -o picture.png";
  return `curl -sS ${apiUrl("images/generations")}${key}${accept} -H 'Content-Type: application/json'` +
    ` -d ${shellQuoted(JSON.stringify(body))}${out}`;
}

/** A value as Python writes it: as JSON does, but for truth. */
const inPython = (value) => (typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(value));

/** With OpenAI's own client. */
export function python(settings, n, rank) {
  const { model, prompt = "", ...extra } = settings;
  const extras = Object.entries(extra).map(([name, value]) => `${JSON.stringify(name)}: ${inPython(value)}`);
  const key = apiKey() ? `os.environ["MINDALLE_API_KEY"]` : `"none"`;
  return [
    `import base64, openai${apiKey() ? ", os" : ""}`,
    `client = openai.OpenAI(base_url=${JSON.stringify(apiUrl("").replace(/\/$/, ""))}, api_key=${key})`,
    `answer = client.images.generate(model=${JSON.stringify(model)}, prompt=${JSON.stringify(String(prompt))}, ` +
      `n=${n}, response_format="b64_json", extra_body={${extras.join(", ")}})`,
    `open("picture.png", "wb").write(base64.b64decode(answer.data[${rank}].b64_json))`,
  ].join("\n");
}

/** Into the clipboard; false when the browser refuses (it needs https or this machine itself). */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

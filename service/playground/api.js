// The server's HTTP routes, one function each; the API key, and errors as one class. Knows no page.

const BASE = new URL("..", import.meta.url);
const KEY = "mindalle.key";

export const apiUrl = (path) => new URL(`v1/${path}`, BASE).href;
export const pageUrl = (fragment) => new URL(`#${fragment}`, BASE).href;
export const imageUrl = (jobId, rank, view = "") => apiUrl(`jobs/${jobId}/images/${rank}${view && `?${view}`}`);

let key = storedKey();

export const apiKey = () => key;

export function keepKey(given) {
  key = given;
  try {
    sessionStorage.setItem(KEY, given);
  } catch {
    // Storage is forbidden: the key lasts until the page is left.
  }
}

function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** What went wrong, by the code of the server's error envelope; "network" when none came. */
export class Problem extends Error {
  constructor({ code, message = "", param = null, status = 0, retryAfter = null }) {
    super(message);
    Object.assign(this, { code, param, status, retryAfter });
  }

  /** Plain data, to be kept with a run. */
  toJSON() {
    const { code, message, param, status, retryAfter } = this;
    return { code, message, param, status, retryAfter };
  }
}

async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  // What no header can carry is no key of any server; fetch would fail as if there were none.
  if (!/^[ -~]*$/.test(apiKey())) throw new Problem({ code: "invalid_api_key", status: 401 });
  const all = { ...headers };
  if (apiKey()) all.authorization = `Bearer ${apiKey()}`;
  if (body) all["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(apiUrl(path), {
      method, signal, headers: all, cache: "no-store", body: body && JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({ code: "network", message: String(error) });
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

async function problemOf(answer) {
  const { error } = await answer.json().catch(() => ({}));
  const retryAfter = Number(answer.headers.get("retry-after")) || null;
  // An answer without our envelope comes from a proxy in between.
  return new Problem({ code: "proxy", ...error, status: answer.status, retryAfter });
}

const json = async (path, options) => (await request(path, options)).json();

export const listModels = async () => (await json("models")).data.filter((it) => !it.alias_of);
export const readStatus = () => json("status", { signal: AbortSignal.timeout(8000) });
export const readJob = (id, signal) => json(`jobs/${id}`, { signal });
export const cancelJob = (id) => json(`jobs/${id}`, { method: "DELETE" });

/** Sending it again with the same key never makes a second job. */
export const sendJob = (body, idempotencyKey) =>
  json("jobs", { method: "POST", body, headers: { "idempotency-key": idempotencyKey } });

/** The job's event stream behind `lastId`. Not an EventSource: that can send no API key. */
export const openEvents = (id, lastId, signal) =>
  request(`jobs/${id}/events`, { headers: { "last-event-id": lastId }, signal });

export async function readImage(id, rank) {
  return (await request(`jobs/${id}/images/${rank}`)).blob();
}

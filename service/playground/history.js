// The runs that this browser remembers, newest first, in its local storage. A run is
// {id, kind, at, cells}; a cell is one job: {request, axis, job, problem}. Knows no page.

const STORE = "mindalle.runs";
const FORGOTTEN = "mindalle.forgotten"; // what a tab has forgotten last
export const newCell = (request, axis = null) => ({ request, axis, job: null, problem: null });
const MAX_RUNS = 40;

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class History {
  runs = stored();
  #forgotten = new Set();

  /** Returns the runs that had to go to make room. */
  add(run) {
    this.runs.unshift(run);
    const dropped = this.runs.splice(MAX_RUNS);
    this.#forget(dropped);
    return dropped;
  }

  remove(runs) {
    this.runs = this.runs.filter((run) => !runs.includes(run));
    this.#forget(runs);
  }

  /**
   * The runs that another tab has just forgotten, by the storage event that tells of it: no longer ours either. One that
   * is merely not among those written was added here while the other tab, which had not seen it, wrote.
   */
  forgottenElsewhere({ key, newValue }) {
    if (key !== FORGOTTEN) return [];
    const ids = parsed(newValue);
    const gone = this.runs.filter(({ id }) => ids.includes(id));
    this.runs = this.runs.filter((run) => !gone.includes(run));
    for (const id of ids) this.#forgotten.add(id);
    this.save();
    return gone;
  }

  #forget(runs) {
    if (!runs.length) return this.save();
    const ids = runs.map(({ id }) => id);
    for (const id of ids) this.#forgotten.add(id);
    write(FORGOTTEN, ids);
    this.save();
  }

  /** Runs of other tabs, which write here too, stay as they are. */
  save() {
    const known = new Set([...this.#forgotten, ...this.runs.map(({ id }) => id)]);
    const all = [...this.runs, ...stored().filter(({ id }) => !known.has(id))];
    all.sort((one, other) => other.at - one.at);
    write(STORE, all.slice(0, MAX_RUNS), withoutSentPictures);
  }
}

function write(key, value, replacer) {
  try {
    localStorage.setItem(key, JSON.stringify(value, replacer));
  } catch {
    // Storage is full or forbidden: the page works, it just will not remember.
  }
}

/** A request's picture is not kept once its job has it, since a few would fill the storage; only that there was one. */
function withoutSentPictures(name, value) {
  if (!value?.request?.image || !value.job) return value;
  const { mask, keep, ...request } = value.request;
  return { ...value, request: { ...request, image: "" } };
}

function stored() {
  try {
    return parsed(localStorage.getItem(STORE)).filter((run) => Array.isArray(run?.cells));
  } catch {
    return [];
  }
}

function parsed(text) {
  try {
    const list = JSON.parse(text ?? "[]");
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

// The runs that this browser remembers, newest first, in its local storage. A run is
// {id, kind, at, cells}; a cell is one job: {request, axis, job, problem}. Knows no page.

const STORE = "mindalle.runs";
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

  /** The runs that another tab has just forgotten, by the storage event that tells of it: no longer ours either. */
  forgottenElsewhere({ key, oldValue, newValue }) {
    if (key !== STORE) return [];
    const [before, now] = [oldValue, newValue].map((text) => new Set(parsed(text).map(({ id }) => id)));
    const gone = this.runs.filter(({ id }) => before.has(id) && !now.has(id));
    this.runs = this.runs.filter((run) => !gone.includes(run));
    return gone;
  }

  #forget(runs) {
    for (const { id } of runs) this.#forgotten.add(id);
    this.save();
  }

  /** Runs of other tabs, which write here too, stay as they are. */
  save() {
    const known = new Set([...this.#forgotten, ...this.runs.map(({ id }) => id)]);
    const all = [...this.runs, ...stored().filter(({ id }) => !known.has(id))];
    all.sort((one, other) => other.at - one.at);
    try {
      localStorage.setItem(STORE, JSON.stringify(all.slice(0, MAX_RUNS), withoutSentPictures));
    } catch {
      // Storage is full or forbidden: the page works, it just will not remember.
    }
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
    return parsed(localStorage.getItem(STORE));
  } catch {
    return [];
  }
}

function parsed(text) {
  try {
    const runs = JSON.parse(text ?? "[]");
    return Array.isArray(runs) ? runs.filter((run) => Array.isArray(run.cells)) : [];
  } catch {
    return [];
  }
}

// Carries out a run: sends its jobs, follows each to its end, and says what changed. Everything that
// is known goes into the run's cells at once, so that a page loaded later can go on from there.

import { cancelJob, Problem, sendJob } from "./api.js";
import { follow, TERMINAL } from "./follow.js";
import { keepPictures } from "./pictures.js";
import { problemOfJob } from "./problems.js";

const AT_ONCE = 6;
const MAX_WAITS = 8;
const LATEST_SEND_MS = 10 * 60_000; // the idempotency key makes a late second sending harmless

export const isOpen = (cell) => !cell.problem && !(cell.job && TERMINAL.has(cell.job.status));
const isOne = (run) => run.cells.length === 1;

export class Work {
  /** `onChange(cell, news)`: news is {} or {partial} or {trouble}. */
  constructor(run, onChange) {
    this.run = run;
    this.onChange = onChange;
    this.stopping = new AbortController();
    this.unwanted = new Set(); // cells that are cancelled here, of which the server has not heard
  }

  get isOpen() {
    return this.run.cells.some(isOpen);
  }

  /** Bring every open cell to its end; never rejects. */
  async carryOut() {
    const open = this.run.cells.filter(isOpen);
    const hand = async () => {
      for (let cell = open.shift(); cell; cell = open.shift()) await this.#finish(cell);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, hand));
  }

  retry() {
    this.unwanted.clear();
    for (const cell of this.run.cells.filter((other) => other.problem)) {
      const isAnswered = cell.job && TERMINAL.has(cell.job.status);
      if (isAnswered || cell.problem.code === "job_not_found") cell.job = null;
      if (isAnswered) cell.attempt = (cell.attempt ?? 0) + 1;
      cell.problem = null;
    }
    this.run.at = Date.now();
    return this.carryOut();
  }

  async cancel() {
    for (const cell of this.run.cells.filter(isOpen)) {
      if (cell.job) this.#cancel(cell);
      else this.#fail(cell, { code: "cancelled" });
    }
  }

  #cancel(cell) {
    this.unwanted.delete(cell);
    cancelJob(cell.job.id).then((job) => this.#take(cell, job), (trouble) => {
      this.unwanted.add(cell);
      this.onChange(cell, { trouble });
    });
  }

  /** Let go of the run without cancelling its jobs. */
  leave() {
    this.stopping.abort();
  }

  async #finish(cell) {
    try {
      if (!isOpen(cell)) return;
      if (!cell.job) {
        const job = await this.#send(cell);
        if (!isOpen(cell)) return void cancelJob(job.id).catch(() => {}); // cancelled while it was sent
        this.#take(cell, job);
      }
      if (!isOpen(cell)) return; // sent before, and ended by now
      await follow(cell.job.id, {
        signal: this.stopping.signal,
        isStreamed: isOne(this.run),
        onJob: (job) => {
          this.#take(cell, job);
          if (this.unwanted.has(cell) && isOpen(cell)) this.#cancel(cell);
        },
        onPartial: (partial) => isOpen(cell) && this.onChange(cell, { partial }),
        onTrouble: (trouble) => this.onChange(cell, { trouble }),
      });
    } catch (problem) {
      if (!this.stopping.signal.aborted && isOpen(cell)) this.#fail(cell, problem);
    }
  }

  /** A comparison waits for its turn when the queue is full; a single job says so and leaves it there. */
  async #send(cell) {
    if (cell.request.image === "") throw new Problem({ code: "picture_gone" }); // another one would be drawn
    if (Date.now() - this.run.at > LATEST_SEND_MS) throw new Problem({ code: "unsent" });
    const key = `${this.run.id}-${this.run.cells.indexOf(cell)}-${cell.attempt ?? 0}`;
    for (let waits = 0; ; waits += 1) {
      try {
        return await sendJob(cell.request, key);
      } catch (problem) {
        const canWait = problem.code === "network" ? waits < 2 : problem.status === 429 && !isOne(this.run);
        if (!canWait || waits >= MAX_WAITS || !isOpen(cell)) throw problem;
        this.onChange(cell, { trouble: problem });
        await new Promise((resolve) => setTimeout(resolve, 1000 * (problem.retryAfter ?? 1)));
        if (!isOpen(cell) || this.stopping.signal.aborted) throw problem;
      }
    }
  }

  #take(cell, job) {
    if (!isOpen(cell)) return;
    const { images, ...known } = job;
    // Addresses may name a host that this page was not loaded from; they are made anew from the id.
    cell.job = { ...known, images: images.map(({ url, ...image }) => image) };
    if (job.status === "succeeded") keepPictures(cell.job);
    else if (TERMINAL.has(job.status)) cell.problem = problemOfJob(job);
    this.onChange(cell, {});
  }

  #fail(cell, problem) {
    cell.problem = problem;
    this.onChange(cell, {});
  }
}

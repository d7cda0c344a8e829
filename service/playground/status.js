// The strip that says how the service is: asks every two seconds while the page is looked at.

import { readStatus } from "./api.js";
import { $, el } from "./dom.js";
import { inWords } from "./problems.js";

const EVERY_MS = 2000;

export class Status {
  /** `onStatus(status)` after each answer, `onProblem(problem)` when none came. */
  constructor(onStatus, onProblem) {
    this.strip = $("#status");
    this.onStatus = onStatus;
    this.onProblem = onProblem;
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
  }

  async ask() {
    clearTimeout(this.timer);
    try {
      const status = await readStatus();
      this.#show(...factsOf(status));
      this.strip.dataset.state = status.is_ready ? "ready" : "off";
      $("#version").textContent = `version ${status.version}`;
      this.onStatus(status);
    } catch (problem) {
      this.strip.dataset.state = "off";
      const isLocked = problem.code === "invalid_api_key";
      this.#show(["Service", isLocked ? "wants an API key" : inWords({ code: "network", ...problem }).title]);
      this.onProblem(problem);
    }
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.ask(), EVERY_MS);
  }

  #show(...facts) {
    this.strip.replaceChildren(...facts.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }
}

function factsOf({ is_ready, model, queue, rows_busy, rows_total, candidates_per_s, workers }) {
  if (!workers.length) return [["Service", "no worker is alive"]];
  const state = is_ready ? "ready" : workers.some(({ state: word }) => word === "loading") ? "loading" : "not ready";
  return [
    [model, state],
    ["Waiting", String(queue.waiting)],
    ["Rows busy", `${rows_busy} of ${rows_total}`],
    ["Pictures/s", candidates_per_s >= 10 ? candidates_per_s.toFixed(0) : candidates_per_s.toFixed(1)],
  ];
}

/** Whether someone serves this model, by the last status. */
export const isServed = (status, model) =>
  status.workers.some((worker) => worker.model === model && worker.state !== "failing");

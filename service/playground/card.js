// One run on the page: what was asked, how far it is, its pictures, what can be done with it.

import { announce, button, counted, duration, el } from "./dom.js";
import { Grid } from "./grid.js";
import { problemBox } from "./problem_box.js";
import { inWords } from "./problems.js";
import { doneOf, Tiles, titleOf } from "./tiles.js";
import { isOpen } from "./work.js";


export class Card {
  /** `actions`: onOpen(job, image), onReuse(run), onAgain(run), onRemove(run). */
  constructor(run, work, actions) {
    this.run = run;
    this.work = work;
    this.trouble = null;
    this.isWorkerless = false;
    this.view = run.kind === "grid" ? new Grid(run, actions.onOpen) : new Tiles(run, actions.onOpen);
    const id = `title-${run.id}`;
    this.element = el("article", { className: "run", data: { kind: run.kind }, aria: { labelledby: id } },
      el("h2", { id }, titleOf(run.cells[0].request.prompt)),
      (this.meta = el("p", { className: "meta" })),
      this.#stateLine(),
      (this.problems = el("div", {})),
      this.view.element,
      el("p", { className: "actions" },
        (this.again = button("Draw another", () => actions.onAgain(run))),
        button("Use these settings", () => actions.onReuse(run)),
        button("Forget", () => actions.onRemove(run))));
    for (const cell of run.cells) this.view.update(cell, {});
    this.#refresh();
  }

  #stateLine() {
    this.state = el("span", {});
    this.bar = el("progress", { max: 1, value: 0, ariaLabel: "Codes drawn" });
    this.stateLine = el("p", { className: "state" }, this.state, this.bar,
      button("Cancel", () => this.work.cancel(), "quiet cancel"));
    return this.stateLine;
  }

  /** Called for every change of a cell. */
  update(cell, news) {
    this.trouble = news.trouble ?? null;
    this.view.update(cell, news);
    this.#refresh();
  }

  /** Nobody who could draw it is alive now. */
  setWorkerless(isWorkerless) {
    if (isWorkerless === this.isWorkerless) return;
    this.isWorkerless = isWorkerless;
    this.#refresh();
    if (isWorkerless && this.work.isOpen) announce(this.state.textContent);
  }

  #refresh() {
    const isBusy = this.work.isOpen;
    this.element.setAttribute("aria-busy", String(isBusy));
    this.stateLine.hidden = !isBusy;
    this.again.hidden = isBusy;
    this.meta.textContent = metaOf(this.run);
    const cells = this.run.cells;
    this.bar.value = cells.reduce((sum, { job }) => sum + doneOf(job), 0) / cells.length;
    this.state.textContent = this.#stateText();
    this.#showProblem();
    this.#announceEnd(isBusy);
  }

  #stateText() {
    if (this.trouble) return `${inWords(this.trouble).title} Trying again by itself.`;
    const open = this.run.cells.filter(isOpen);
    const job = open[0]?.job;
    if (this.isWorkerless && job) {
      const end = new Date((job.created_at + job.parameters.deadline_s) * 1000);
      return `No worker is alive just now. The job keeps its place and goes on when one is back, until ${clock(end)}.`;
    }
    if (this.run.cells.length > 1) return `${this.run.cells.length - open.length} of ${this.run.cells.length} drawn`;
    return stateOf(job);
  }

  #showProblem() {
    const problem = this.work.isOpen ? null : this.run.cells.find((cell) => cell.problem)?.problem ?? null;
    if (problem === this.shown) return;
    this.shown = problem;
    this.problems.replaceChildren(...(problem ? [problemBox(problem, () => this.retry())] : []));
  }

  retry() {
    this.work.retry();
    for (const cell of this.run.cells) this.view.update(cell, {});
    this.#refresh();
  }

  #announceEnd(isBusy) {
    if (this.wasBusy && !isBusy) {
      const made = this.run.cells.reduce((sum, { job }) => sum + (job?.images.length ?? 0), 0);
      const title = this.element.firstChild.textContent;
      announce(this.shown ? inWords(this.shown).title : `${counted(made, "picture")} of ${title}: ready.`);
    }
    this.wasBusy = isBusy;
  }
}

const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function stateOf(job) {
  if (!job) return "Sending";
  const left = job.eta_s ? `, about ${duration(job.eta_s)}` : "";
  if (job.status === "queued") {
    const place = job.position ? `${counted(job.position, "job")} ahead` : "Next in line";
    return (job.attempts > 0 ? "Starting over after a worker was lost. " : "") + place + left;
  }
  const { codes_done: done, codes_total: total, stage } = job.progress;
  if (stage === "pixels") return "Turning codes into pixels and ranking them";
  return total ? `Drawing: ${done} of ${total} codes${left}` : "Drawing";
}

function metaOf(run) {
  const { request, job } = run.cells[0];
  const used = job?.parameters ?? request;
  const parts = [job?.model ?? request.model];
  if (run.kind === "pictures") parts.push(`temperature ${used.temperature}`, `top-k ${used.top_k ?? "off"}`);
  parts.push(`top-p ${used.top_p ?? "off"}`, `seed ${used.seed}`);
  if (job?.status === "succeeded" && run.kind === "pictures") {
    const seconds = (job.finished_at - job.created_at).toFixed(1);
    parts.push(`best ${job.images.length} of ${used.num_candidates}`, `${seconds} s`);
  }
  if (job?.prompt_truncated) parts.push("the prompt was longer than the model reads: its end was cut");
  return parts.join(" · ");
}

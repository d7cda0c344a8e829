// A comparison: temperatures down, top-k across, one picture per cell.

import { el } from "./dom.js";
import { newCell } from "./history.js";
import { doneOf, Growing, pictureTile } from "./tiles.js";

const MAX_SIDE = 6;

/** "0.5, 1 1.5" → [0.5, 1, 1.5]; null when it is no short list of numbers. */
export function numbersOf(text) {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  const isGood = numbers.length > 0 && numbers.length <= MAX_SIDE && numbers.every((number) => number > 0);
  return isGood ? [...new Set(numbers)] : null;
}

/** Cells, row by row. */
export function gridCells(request, temperatures, topKs) {
  return temperatures.flatMap((temperature) =>
    topKs.map((top_k) => newCell(
      { ...request, temperature, top_k, n: 1, num_candidates: 1, partial_images: 0 },
      { temperature, top_k })));
}

/** The view of a run with many jobs. */
export class Grid {
  constructor(run, onOpen) {
    this.onOpen = onOpen;
    this.places = new Map();
    const topKs = [...new Set(run.cells.map(({ axis }) => axis.top_k))];
    const body = el("tbody", {});
    for (let at = 0; at < run.cells.length; at += topKs.length) {
      body.append(this.#row(run.cells.slice(at, at + topKs.length)));
    }
    const head = el("tr", {}, el("th", { scope: "col" }, "Temperature"),
      ...topKs.map((topK) => el("th", { scope: "col" }, `top-k ${topK}`)));
    this.element = el("div", { className: "grid", tabIndex: 0, role: "region", ariaLabel: "Comparison" },
      el("table", {}, el("thead", {}, head), body));
    this.element.style.setProperty("--columns", topKs.length);
  }

  #row(cells) {
    return el("tr", {}, el("th", { scope: "row" }, String(cells[0].axis.temperature)), ...cells.map((cell) => {
      const place = { growing: new Growing(), td: null };
      place.td = el("td", {}, place.growing.element);
      this.places.set(cell, place);
      return place.td;
    }));
  }

  update(cell) {
    const place = this.places.get(cell);
    const { job, problem } = cell;
    if (problem) {
      const word = problem.code === "cancelled" ? "cancelled" : "failed";
      place.td.replaceChildren(el("div", { className: "tile gone" }, word));
    } else if (job?.status !== "succeeded") {
      place.td.replaceChildren(place.growing.element);
      place.growing.grow(doneOf(job));
    } else if (!place.isFinished) {
      place.isFinished = true;
      place.td.replaceChildren(pictureTile(job, job.images[0], this.onOpen));
    }
  }
}

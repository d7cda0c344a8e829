// The pictures of one job: places that fill while it is drawn, then the ranked candidates.

import { el } from "./dom.js";
import { showPicture } from "./pictures.js";

const SMALL = 48; // pixels; up to here a picture is better enlarged square by square than smoothly

/** "64x64" → 64; null when the size is not known yet. */
export const sideOf = (size) => Number(/^\d+/.exec(size ?? "")?.[0]) || null;

export const isSmall = (size) => (sideOf(size) ?? 256) <= SMALL;

/** "0.314", or nothing where nothing ranked the pictures. */
export const scoreOf = ({ score }, digits) => score?.toFixed(digits) ?? "";

export function altOf(job, image) {
  const what = titleOf(job.parameters.prompt);
  const place = job.images.length > 1 ? `Picture ${image.rank + 1} of ${job.images.length}: ` : "";
  const score = scoreOf(image, 3);
  return place + what + (score && `, score ${score}`);
}

export const titleOf = (prompt) =>
  prompt === null || prompt === undefined || prompt === "" ? "without a prompt"
    : typeof prompt === "number" ? `class ${prompt}` : prompt;

/** A finished picture as a button that opens it. */
export function pictureTile(job, image, onOpen) {
  const img = el("img", { alt: altOf(job, image), decoding: "async" });
  const tile = el("button", { type: "button", className: "tile", onclick: () => onOpen(job, image) }, img);
  const score = scoreOf(image, 3);
  if (score) tile.append(el("span", { className: "score", aria: { hidden: true } }, score));
  img.classList.toggle("pixels", isSmall(job.size));
  showPicture(img, job, image.rank, () => {
    tile.replaceWith(el("div", { className: "tile gone" }, "no longer kept"));
  });
  return tile;
}

/** A picture in the making: a mosaic that fills from the top, or an unfinished picture. */
export class Growing {
  constructor() {
    this.element = el("div", { className: "tile growing" });
    this.src = null;
  }

  /** `part` of 0..1 of its codes are drawn. */
  grow(part) {
    this.element.style.setProperty("--done", `${Math.round(part * 100)}%`);
  }

  /** An unfinished picture, as far down as its codes are drawn; the rest would be a guess. */
  show({ index, b64_json: content, part }, { output_format: format, partial_images: count }) {
    const img = el("img", { alt: "An unfinished picture", data: { partial: index } });
    img.onload = () => img.classList.toggle("pixels", img.naturalWidth <= SMALL);
    img.style.setProperty("--hidden", `${100 - Math.floor(100 * (part ?? (index + 1) / (count + 1)))}%`);
    img.src = `data:image/${format};base64,${content}`;
    this.element.replaceChildren(img);
  }
}

export const doneOf = (job) => {
  const { codes_done: done = 0, codes_total: total = 0 } = job?.progress ?? {};
  return job?.status === "succeeded" ? 1 : total ? done / total : 0;
};

/** The view of a run with one job. */
export class Tiles {
  constructor(run, onOpen) {
    this.onOpen = onOpen;
    this.growing = Array.from({ length: run.cells[0].request.n ?? 1 }, () => new Growing());
    this.element = el("ol", { className: "tiles", data: { count: this.growing.length } });
    this.#fill(this.growing.map(({ element }) => element));
  }

  update(cell, { partial }) {
    const { job, problem } = cell;
    this.element.hidden = Boolean(problem);
    if (job?.status === "succeeded") return this.#finish(job);
    if (partial) this.growing[0].show(partial, job.parameters);
    for (const place of this.growing) place.grow(doneOf(job));
  }

  #finish(job) {
    if (this.isFinished) return;
    this.isFinished = true;
    this.#fill(job.images.map((image) => pictureTile(job, image, this.onOpen)));
  }

  #fill(children) {
    this.element.replaceChildren(...children.map((child) => el("li", {}, child)));
  }
}

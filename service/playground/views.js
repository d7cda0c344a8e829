// A picture in the views that its model has of it, coarse to fine: a coarser one beside the picture as
// it is, or one at a time by a slider. Knows no view by its name; the server alone has them.

import { button, el } from "./dom.js";
import { showView } from "./pictures.js";
import { altOf, isSmall } from "./tiles.js";

let isPairedLast = true; // as it was left in the picture before

/** The views of a job as [parameter, values], coarse to fine; null where there is but the picture itself. */
function viewsOf(job) {
  const [first] = Object.entries(job.views ?? {});
  return first && first[1].length > 1 ? first : null;
}

/** `img`, and what shows its coarser views where it has some; `whole` shows the picture as it is in it. */
export function inViews(img, job, image, whole) {
  const views = viewsOf(job);
  if (views) return new Views(img, job, image, whole, views).elements;
  whole();
  return [img];
}

class Views {
  constructor(img, job, image, whole, [parameter, values]) {
    Object.assign(this, { img, job, image, whole, parameter, values });
    this.coarse = el("img", { className: isSmall(job.size) ? "pixels" : "" });
    this.coarseName = el("span", {});
    this.pair = el("div", { className: "pair" });
    this.told = el("output", {});
    this.slider = el("input", { type: "range", min: 0, step: 1, oninput: () => this.#show() });
    this.label = el("label", {}, parameter, this.slider, this.told);
    this.toggle = button("Side by side", () => this.#setPaired(!this.isPaired));
    this.elements = [this.pair, el("div", { className: "view" }, this.label, this.toggle)];
    this.#setPaired(isPairedLast);
  }

  /** Beside the picture, only a coarser one says something. */
  #setPaired(isPaired) {
    this.isPaired = isPaired;
    isPairedLast = isPaired;
    const last = this.values.length - 1;
    this.toggle.setAttribute("aria-pressed", String(isPaired));
    this.slider.max = isPaired ? last - 1 : last;
    this.slider.value = isPaired ? 0 : last;
    this.label.hidden = isPaired && last === 1;
    this.pair.replaceChildren(...(isPaired ? this.#sides() : [this.img]));
    if (isPaired) this.#showWhole();
    this.#show();
  }

  #sides() {
    const finest = el("span", {}, `${this.parameter} ${this.values.at(-1)}`);
    return [el("div", {}, this.coarse, this.coarseName), el("div", {}, this.img, finest)];
  }

  #show() {
    const at = Number(this.slider.value);
    const value = this.values[at];
    this.told.textContent = value;
    this.slider.setAttribute("aria-valuetext", value);
    if (at === this.values.length - 1) this.#showWhole();
    else this.#showView(this.isPaired ? this.coarse : this.img, value);
  }

  #showView(img, value) {
    const name = `${this.parameter} ${value}`;
    this.coarseName.textContent = name;
    this.coarse.alt = `${altOf(this.job, this.image)}, ${name}`;
    img.dataset.view = `${this.parameter}=${value}`;
    showView(img, this.job, this.image.rank, img.dataset.view, () => this.#letGo());
  }

  #showWhole() {
    this.img.dataset.view = "";
    this.whole();
  }

  /** The server has the picture no longer, so there is nothing to choose from. */
  #letGo() {
    const wasPaired = isPairedLast;
    this.#setPaired(false);
    isPairedLast = wasPaired;
    this.slider.disabled = this.toggle.disabled = true;
  }
}

// One picture, large: its parameters, its file, and the three recipes that make it again where no other picture is
// needed for that.

import { $, announce, button, el } from "./dom.js";
import { showPicture } from "./pictures.js";
import { copy, curl, link, python, settingsOf } from "./recipe.js";
import { altOf, isSmall, scoreOf, titleOf } from "./tiles.js";
import { inViews } from "./views.js";

const NAMES = { model: "Model", num_candidates: "Candidates", temperature: "Temperature", top_k: "Top-k",
  top_p: "Top-p", seed: "Seed", enhance: "Enhanced" };
const inAWord = (value) => (typeof value === "boolean" ? (value ? "yes" : "no") : String(value));

export class Viewer {
  constructor(onReuse) {
    this.dialog = $("#viewer");
    this.onReuse = onReuse;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** `shown`: every {job, image} of the run, for the arrow keys; `at`: which of them. */
  open(shown, at) {
    this.shown = shown;
    this.#show(at);
    if (!this.dialog.open) this.dialog.showModal();
  }

  #onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const isOurs = !(event.target instanceof HTMLTextAreaElement || event.target instanceof HTMLInputElement);
    if (step && isOurs) this.#show(this.at + step);
  }

  #show(at) {
    const many = this.shown.length;
    this.at = (at + many) % many;
    const { job, image } = this.shown[this.at];
    const settings = settingsOf(job);
    const img = el("img", { alt: altOf(job, image), className: isSmall(job.size) ? "pixels" : "" });
    const whole = () =>
      showPicture(img, job, image.rank, () => img.replaceWith(el("p", {}, "This picture is no longer kept.")));
    this.dialog.replaceChildren(
      el("figure", {}, ...inViews(img, job, image, whole), many > 1 ? this.#steps() : null),
      el("div", { className: "facts" },
        el("h2", {}, titleOf(job.parameters.prompt)),
        factsOf(job, image, settings),
        el("p", { className: "actions" },
          button("Download", () => download(img, job, image), "primary"),
          button("Use these settings", () => { this.dialog.close(); this.onReuse(settings, job); })),
        job.source ? sourceNote() : this.#recipes(settings, job.parameters.n, image.rank)),
      iconButton("×", "Close", () => this.dialog.close(), "close icon"));
  }

  #steps() {
    const step = (text, label, by) => {
      const made = iconButton(text, label, () => {
        this.#show(this.at + by);
        $(`[data-by="${by}"]`, this.dialog).focus(); // the dialog's content is new
      });
      made.dataset.by = by;
      return made;
    };
    return el("figcaption", {}, step("‹", "Previous picture", -1),
      el("span", {}, `${this.at + 1} of ${this.shown.length}`), step("›", "Next picture", 1));
  }

  #recipes(settings, n, rank) {
    const text = el("textarea", { readOnly: true, rows: 4, hidden: true, ariaLabel: "Copied text", spellcheck: false });
    const recipe = (name, make) => button(`Copy ${name}`, async () => {
      text.value = make();
      text.hidden = false;
      const isCopied = await copy(text.value);
      if (!isCopied) text.select();
      announce(isCopied ? `${name} copied.` : `Press Ctrl+C to copy the ${name}.`);
      note.textContent = isCopied ? "Copied." : "Selected: press Ctrl+C to copy it.";
    });
    const note = el("p", { className: "hint" }, "Each makes this picture again: the settings and the seed are in it.");
    return el("div", { className: "recipes" },
      el("p", { className: "actions" },
        recipe("link", () => link(settings)),
        recipe("curl line", () => curl(settings, n, rank)),
        recipe("Python", () => python(settings, n, rank))),
      text, note);
  }
}

function sourceNote() {
  return el("p", { className: "hint" }, "It began with another picture, which is not kept. With that one, ",
    el("code", {}, "mindalle replay"), " makes it again from its file.");
}

function iconButton(text, label, onclick, className = "icon") {
  return Object.assign(button(text, onclick, className), { ariaLabel: label });
}

function factsOf(job, image, settings) {
  const rows = Object.keys(NAMES).filter((name) => name in settings).map((name) => [NAMES[name], settings[name]]);
  const score = scoreOf(image, 4);
  if (score) rows.unshift([typeof job.parameters.prompt === "number" ? "Probability" : "Score", score]);
  rows.push(["Candidate", `no. ${image.candidate + 1}`], ["Size", job.size?.replace("x", " × ") ?? ""]);
  return el("dl", {}, ...rows.flatMap(([label, value]) => [el("dt", {}, label), el("dd", {}, inAWord(value))]));
}

function download(img, job, image) {
  const name = titleOf(job.parameters.prompt).toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  const { output_format: format, seed } = job.parameters;
  const view = img.dataset.view ? `-${img.dataset.view.replace("=", "-")}` : "";
  const a = el("a", { href: img.src, download: `${name}-${seed}-${image.candidate}${view}.${format}` });
  document.body.append(a);
  a.click();
  a.remove();
}

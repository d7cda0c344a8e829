// The form: its fields, the model's limits and defaults in them, and what they ask for.

import { $, button, el } from "./dom.js";
import { examplesFor } from "./examples.js";
import { gridCells, numbersOf } from "./grid.js";
import { newCell } from "./history.js";
import { SourceField } from "./source.js";
import { oneOrMore } from "./recipe.js";

const MAX_SHOWN = 10; // as many as the API returns of one job
const PARTIALS = 3;
const NUMBERS = ["num_candidates", "temperature", "top_k", "top_p"];
const PER_LEVEL = ["temperature", "top_k", "top_p"];
const ONE = { type: "number", title: "", pattern: "" };
// A list is text to a browser: how long it must be, and what may be in it, the server knows.
const LIST = { type: "text", title: "A number, or one for each level of codes: 8, 4, 2", pattern: "[\\d., ]+" };
const FIELDS = { prompt: "#prompt", num_candidates: "#num-candidates", temperature: "#temperature", top_k: "#top-k",
  top_p: "#top-p", seed: "#seed", model: "#model", image: "#source-file", keep: "#keep",
  enhance: "#enhance" };
const COMPARED = { temperature: "#temperatures", top_k: "#top-ks" }; // where a comparison has them

/** All of a model that the fields depend on: not where it is loaded, nor by how many. */
const shapeOf = (model) => JSON.stringify({ ...model, is_loaded: null, num_workers: null });

const hintOf = ({ licence, is_loaded }) =>
  `Licence ${licence}${is_loaded === false ? "; it is loaded when a picture is asked for, which takes a while" : ""}`;

export class Form {
  /** `onDraw(kind, cells)` when the form is sent and all of it makes sense. */
  constructor(onDraw) {
    this.root = $("#form");
    this.models = [];
    this.source = new SourceField();
    this.onDraw = onDraw;
    this.root.addEventListener("submit", (event) => this.#onSubmit(event));
    this.root.addEventListener("input", ({ target }) => target.setCustomValidity?.(""));
    this.root.addEventListener("invalid", () => { $("#settings").open = true; }, true); // to be seen and focused
    $("#model").addEventListener("change", () => {
      this.wantedModel = null;
      this.#useModel();
    });
    $("#defaults").addEventListener("click", () => this.#useDefaults());
    $("#dice").addEventListener("click", () => this.rollSeed());
    $("#lock").addEventListener("click", () => this.lockSeed(!this.isSeedLocked));
    $("#prompt").addEventListener("keydown", (event) => this.#onPromptKey(event));
    for (const radio of this.root.elements.kind) radio.addEventListener("change", () => this.#useKind());
    this.rollSeed();
  }

  get model() {
    return this.models.find(({ id }) => id === $("#model").value) ?? null;
  }

  get kind() {
    return this.root.elements.kind.value;
  }

  get isSeedLocked() {
    return $("#lock").ariaPressed === "true";
  }

  /** The models that can be asked for; the chosen one stays chosen if it is still there. */
  setModels(models, preferred) {
    const before = this.model;
    this.models = models;
    const options = models.map(({ id, size }) => el("option", { value: id }, `${id} (${size.replace("x", " × ")})`));
    $("#model").replaceChildren(...options);
    const wanted = [before?.id, this.wantedModel, preferred].find((id) => models.some((model) => model.id === id));
    if (wanted) $("#model").value = wanted;
    if (shapeOf(this.model) !== shapeOf(before)) this.#useModel();
    if (this.model) $("#model-hint").textContent = hintOf(this.model);
  }

  /** Take settings over from a picture, a link or a run; `grid` in them: a comparison's two lists. */
  fill(settings) {
    this.wantedModel = settings.model;
    if (this.models.some(({ id }) => id === settings.model)) {
      $("#model").value = settings.model;
      this.#useModel();
    }
    this.#setPrompt(settings.prompt);
    for (const name of [...NUMBERS, "seed"]) {
      if (settings[name] !== undefined && settings[name] !== null) $(FIELDS[name]).value = settings[name];
    }
    if (typeof settings.enhance === "boolean") $("#enhance").checked = settings.enhance;
    this.pending = this.model ? null : settings;
    this.lockSeed(settings.seed !== undefined);
    this.#setKind(settings.grid);
  }

  #setKind(grid) {
    this.root.elements.kind.value = grid ? "grid" : "pictures";
    if (grid) {
      $("#temperatures").value = grid.temperatures;
      $("#top-ks").value = grid.top_ks;
    }
    this.#useKind();
  }

  /** Say what is wrong at the field that is meant; false when none is there to be seen. */
  complain(problem) {
    const field = this.#field(problem.param);
    if (!field || field.disabled) return false;
    field.setCustomValidity(problem.message);
    field.reportValidity();
    return true;
  }

  rollSeed() {
    $("#seed").value = newSeed();
  }

  lockSeed(isLocked) {
    $("#lock").ariaPressed = String(isLocked);
  }

  #field(param) {
    if (param === "prompt") return this.model?.prompt_kind === "class" ? $("#class-id") : $("#prompt");
    const fields = this.kind === "grid" ? { ...FIELDS, ...COMPARED } : FIELDS;
    return fields[param] ? $(fields[param]) : null;
  }

  /** What was complained of is no more what the fields hold. */
  #forgive() {
    for (const field of this.root.elements) field.setCustomValidity("");
  }

  #setPrompt(prompt) {
    this.#forgive();
    $("#class-id").value = prompt ?? "";
    $("#prompt").value = prompt ?? "";
  }

  #useModel() {
    const { model } = this;
    if (!model) return;
    const kind = model.prompt_kind;
    $("#prompt-field").hidden = kind === "none";
    $("#no-prompt").hidden = kind !== "none";
    show($("#prompt"), kind === "text");
    show($("#class-id"), kind === "class");
    $("#class-id").max = (model.num_classes ?? 1) - 1;
    $("#prompt-label").textContent = kind === "class" ? `Class, 0 to ${model.num_classes - 1}` : "Prompt";
    $("#prompt-label").htmlFor = kind === "class" ? "class-id" : "prompt";
    this.source.setModel(model);
    $("#model-hint").textContent = hintOf(model);
    $("#num-candidates").max = model.limits.max_candidates;
    $("#top-k").max = model.limits.max_top_k;
    $("#enhance-field").hidden = !canEnhance(model);
    for (const name of PER_LEVEL) Object.assign($(FIELDS[name]), model.levels > 1 ? LIST : ONE);
    this.#showExamples(model);
    this.#useDefaults();
    const { pending } = this;
    this.pending = null; // filling in uses the model, too
    if (pending) this.fill(pending);
  }

  #showExamples(model) {
    const chips = examplesFor(model).map(({ prompt, text }) =>
      button(text, () => { this.#setPrompt(prompt); this.#field("prompt").focus(); }, "chip"));
    $("#examples").hidden = chips.length === 0;
    $("#examples").replaceChildren(...chips);
  }

  #useDefaults() {
    if (!this.model) return;
    this.#forgive();
    const { defaults, limits, enhances } = this.model;
    $("#num-candidates").value = defaults.num_candidates;
    $("#temperature").value = defaults.temperature;
    $("#top-k").value = defaults.top_k ?? limits.max_top_k;
    $("#top-p").value = defaults.top_p ?? 1;
    $("#enhance").checked = enhances === true;
    $("#top-ks").value = [4, 32].filter((k) => k < limits.max_top_k).concat(limits.max_top_k).join(", ");
  }

  #useKind() {
    for (const group of this.root.querySelectorAll("[data-kind]")) {
      group.hidden = group.dataset.kind !== this.kind;
      for (const input of group.querySelectorAll("input")) input.disabled = group.hidden;
    }
  }

  #onPromptKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.root.requestSubmit();
  }

  #onSubmit(event) {
    event.preventDefault();
    const cells = this.kind === "grid" ? this.#grid() : [newCell(this.#request())];
    if (!cells) return;
    this.onDraw(this.kind, cells);
    if (!this.isSeedLocked) this.rollSeed();
  }

  #request() {
    const { model } = this;
    const request = { seed: Number($("#seed").value), partial_images: PARTIALS };
    if (model) request.model = model.id;
    if (model?.prompt_kind === "class") request.prompt = Number($("#class-id").value);
    else if (model?.prompt_kind !== "none") request.prompt = $("#prompt").value;
    const { defaults = {}, limits = {} } = model ?? {};
    const noCut = { top_k: limits.max_top_k, top_p: 1 };
    for (const name of NUMBERS) {
      const text = $(FIELDS[name]).value;
      // "No cut" is said by leaving the field out where that is the model's default.
      if (text && !(defaults[name] === null && Number(text) === noCut[name])) request[name] = oneOrMore(text);
    }
    const enhance = $("#enhance").checked;
    if (canEnhance(model) && enhance !== model.enhances) request.enhance = enhance; // else as it does by itself
    Object.assign(request, this.source.request);
    request.n = Math.min(request.num_candidates ?? defaults.num_candidates ?? 1, MAX_SHOWN);
    return request;
  }

  #grid() {
    const lists = ["#temperatures", "#top-ks"].map((id) => [$(id), numbersOf($(id).value)]);
    for (const [field, numbers] of lists) {
      if (numbers) continue;
      field.setCustomValidity("One to six numbers above 0, with commas between them.");
      field.reportValidity();
      return null;
    }
    return gridCells(this.#request(), lists[0][1], lists[1][1].map(Math.round));
  }
}

export const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/** A model says whether it does so by itself where it has an enhancement, and nothing where it has none. */
const canEnhance = (model) => typeof model?.enhances === "boolean";

function show(input, isShown) {
  input.hidden = !isShown;
  input.disabled = !isShown;
}

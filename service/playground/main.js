// Puts the page together: form, runs, viewer, status, key, dropped files. Decides nothing else.

import { listModels, Problem } from "./api.js";
import { Card } from "./card.js";
import { $, announce } from "./dom.js";
import { Form, newSeed } from "./form.js";
import { History, newCell, newId } from "./history.js";
import { KeyField } from "./keys.js";
import { forgetPictures } from "./pictures.js";
import { settingsOfPng } from "./png.js";
import { problemBox } from "./problem_box.js";
import { settingsOf, settingsOfLink } from "./recipe.js";
import { isServed, Status } from "./status.js";
import { Viewer } from "./viewer.js";
import { Work } from "./work.js";

const history = new History();
const cards = new Map();
const form = new Form(draw);
const viewer = new Viewer((settings, job) => reuse(settings, notesOn(job)));
const keys = new KeyField(onKey);
let lastStatus = null;
const status = new Status(onStatus, onStatusProblem);

function draw(kind, cells) {
  const run = { id: newId(), kind, at: Date.now(), cells };
  for (const dropped of history.add(run)) forget(dropped);
  show(run).element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  announce("Sent.");
}

/** Make the run's card and go on with whatever of it is open. */
function show(run, { isOld = false } = {}) {
  const work = new Work(run, (cell, news) => {
    card.update(cell, news);
    if (!news.partial) history.save();
    if (cell.problem) onRunProblem(cell.problem);
  });
  const onOpen = (job, image) => {
    const shown = run.cells.flatMap((cell) => (cell.job?.images ?? []).map((made) => ({ job: cell.job, image: made })));
    viewer.open(shown, shown.findIndex((other) => other.job.id === job.id && other.image.rank === image.rank));
  };
  const card = new Card(run, work, {
    onOpen,
    onReuse: () => reuse(settingsOfRun(run), notesOn(run.cells[0].job ?? {})),
    onAgain: () => again(run),
    onRemove: () => remove([run]),
  });
  cards.set(run, card);
  $("#feed")[isOld ? "append" : "prepend"](card.element);
  showEmptiness();
  work.carryOut();
  return card;
}

function settingsOfRun({ kind, cells }) {
  const { job, request } = cells[0];
  const axis = (name) => [...new Set(cells.map((cell) => cell.axis[name]))].join(", ");
  const grid = kind === "grid" ? { temperatures: axis("temperature"), top_ks: axis("top_k") } : null;
  return { ...(job ? settingsOf(job) : request), grid };
}

/** The same with a new seed; the form's is left as it is, for it may be locked. */
function again(run) {
  const seed = newSeed();
  draw(run.kind, run.cells.map(({ request, axis }) => newCell({ ...request, seed }, axis)));
}

function reuse(settings, note = "") {
  form.fill(settings);
  tellOfModels();
  $("#prompt-field").scrollIntoView({ block: "nearest" });
  $("#draw").focus();
  announce(`The form has these settings now.${note}`);
}

function forget(run) {
  cards.get(run)?.work.cancel();
  putAway(run);
  forgetPictures(run.cells.flatMap(({ job }) => (job ? [job.id] : [])));
}

function putAway(run) {
  cards.get(run)?.work.leave();
  cards.get(run)?.element.remove();
  cards.delete(run);
}

function onStorage(event) {
  history.forgottenElsewhere(event).forEach(putAway);
  showEmptiness();
}

function remove(runs) {
  runs.forEach(forget);
  history.remove(runs);
  showEmptiness();
  $("#runs").focus();
}

function showEmptiness() {
  $("#empty").hidden = cards.size > 0;
  $("#clear").hidden = cards.size === 0;
}

function onRunProblem(problem) {
  if (problem.code === "invalid_api_key") keys.ask();
  else if (problem.status === 400) form.complain(problem);
}

function onKey() {
  status.ask();
  loadModels();
}

async function loadModels() {
  try {
    const models = await listModels();
    keys.accepted();
    form.setModels(models, lastStatus?.model);
    tellOfModels();
    if (models.length) resume();
  } catch (problem) {
    if (problem.code === "invalid_api_key") keys.ask();
    else tell(problem);
  }
}

/** Runs that stopped for want of a key go on when there is one. */
function resume() {
  for (const card of cards.values()) {
    if (!card.work.isOpen && card.run.cells.some(({ problem }) => problem?.code === "invalid_api_key")) card.retry();
  }
}

function tellOfModels() {
  const { models, wantedModel } = form;
  if (!models.length) return tell(new Problem({ code: "no_worker" }));
  const isElsewhere = wantedModel && models.every(({ id }) => id !== wantedModel);
  tell(isElsewhere ? new Problem({ code: "other_model", message: wantedModel }) : null);
}

/** A notice about the whole page, or none. */
function tell(problem) {
  $("#notices").replaceChildren(...(problem ? [problemBox(problem, loadModels)] : []));
}

function onStatus(now) {
  const served = (one) =>
    one?.workers.filter(({ state }) => state === "ready").map(({ model, is_loaded }) => `${model} ${is_loaded}`).join();
  const isChanged = served(now) !== served(lastStatus);
  lastStatus = now;
  if (isChanged) loadModels();
  for (const card of cards.values()) {
    const model = card.run.cells[0].job?.model;
    card.setWorkerless(Boolean(model) && !isServed(now, model));
  }
}

function onStatusProblem(problem) {
  lastStatus = null;
  if (problem.code === "invalid_api_key") keys.ask();
}

function notesOn({ has_prompt, source }) {
  const isHidden = has_prompt === false ? " Its prompt was left out of the file." : "";
  return isHidden + (source ? " It began with another picture: drop that, too." : "");
}

async function takeFile(file) {
  const settings = await settingsOfPng(file).catch(() => null);
  if (settings) return reuse(settings, notesOn(settings));
  beginWith(file, "no_settings");
}

/** The next picture begins with this one; `otherwise` is the problem of a file that is none. */
async function beginWith(file, otherwise) {
  if (!await form.source.take(file)) return tell(new Problem({ code: otherwise }));
  tellOfModels();
  announce("The next picture begins with this one.");
}

function onFile(field, use) {
  $(field).addEventListener("change", ({ target }) => {
    if (target.files[0]) use(target.files[0]);
    target.value = "";
  });
}

/** Files are ours; text that is dragged goes into the field that it is dropped on. */
function wireFiles() {
  const over = (isOver) => document.documentElement.toggleAttribute("data-dropping", isOver);
  const hasFiles = ({ dataTransfer }) => dataTransfer.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || over(false));
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(false);
    if (event.dataTransfer.files[0]) takeFile(event.dataTransfer.files[0]);
  });
  onFile("#file", takeFile);
  onFile("#source-file", (file) => beginWith(file, "no_picture"));
}

function wireTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const say = () => $("#theme").setAttribute("aria-pressed", String(isDark()));
  $("#theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    say();
    try {
      localStorage.setItem("mindalle.theme", root.dataset.theme);
    } catch {
      // Storage is forbidden: the choice lasts until the page is left.
    }
  });
  system.addEventListener("change", say);
  say();
}

function fillFromLink() {
  const settings = settingsOfLink(location.hash);
  if (!settings) return;
  form.fill(settings);
  if (lastStatus) tellOfModels();
}

for (const run of history.runs) show(run, { isOld: true });
$("#clear").addEventListener("click", () => remove([...cards.keys()]));
addEventListener("hashchange", fillFromLink);
addEventListener("storage", onStorage);
wireTheme();
wireFiles();
if (matchMedia("(max-width: 40rem)").matches) $("#settings").open = false;
fillFromLink();
status.ask();

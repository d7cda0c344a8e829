// The picture to begin with: chosen or dropped, cut to the model's shape, with a hole painted into it.
// What it asks for goes into a request: `image`, and `mask` or `keep`. Knows no server.

import { $ } from "./dom.js";

const BRUSH = 0.12; // of the picture's width

export class SourceField {
  constructor() {
    this.root = $("#source");
    this.picture = $("#source-picture");
    this.paint = $("#source-paint");
    this.bitmap = null;
    this.last = null; // where the brush was
    $("#source-remove").addEventListener("click", () => this.remove());
    $("#paint-clear").addEventListener("click", () => this.#clearPaint());
    $("#keep").addEventListener("input", () => this.#tellKeep());
    this.paint.addEventListener("pointerdown", (event) => this.#begin(event));
    this.paint.addEventListener("pointermove", (event) => this.last && this.#stroke(event));
    for (const end of ["pointerup", "pointercancel"]) this.paint.addEventListener(end, () => { this.last = null; });
  }

  setModel(model) {
    this.root.hidden = !model.takes_pictures;
    const [width, height] = model.size.split("x").map(Number);
    if (this.picture.width === width && this.picture.height === height) return;
    for (const canvas of [this.picture, this.paint]) Object.assign(canvas, { width, height });
    this.#clearPaint();
    this.#show();
  }

  /** Begin with a file; false when it is no picture, or the model takes none. */
  async take(file) {
    if (this.root.hidden) return false;
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (!bitmap) return false;
    this.bitmap = bitmap;
    this.#clearPaint();
    this.#show();
    return true;
  }

  remove() {
    this.bitmap = null;
    this.#show();
  }

  /** The fields of a request; none without a picture. */
  get request() {
    if (!this.bitmap || this.root.hidden) return {};
    const image = this.picture.toDataURL("image/png");
    return this.isPainted ? { image, mask: this.#mask() } : { image, keep: Number($("#keep").value) };
  }

  #show() {
    $("#source-edit").hidden = !this.bitmap;
    if (!this.bitmap) return;
    const { width, height } = this.picture;
    const scale = Math.max(width / this.bitmap.width, height / this.bitmap.height); // it covers all
    const size = [this.bitmap.width * scale, this.bitmap.height * scale];
    const context = this.picture.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, width, height);
    context.drawImage(this.bitmap, (width - size[0]) / 2, (height - size[1]) / 2, ...size);
  }

  #clearPaint() {
    this.paint.getContext("2d").clearRect(0, 0, this.paint.width, this.paint.height);
    this.isPainted = false;
    this.#tellKeep();
  }

  #tellKeep() {
    $("#keep").disabled = this.isPainted;
    const share = Math.round(100 * Number($("#keep").value));
    $("#keep-told").textContent = this.isPainted ? "what is not painted" : `the upper ${share} %`;
  }

  #begin(event) {
    this.paint.setPointerCapture(event.pointerId);
    this.last = this.#place(event);
    this.isPainted = true;
    this.#tellKeep();
    this.#stroke(event);
  }

  #stroke(event) {
    const context = this.paint.getContext("2d");
    const next = this.#place(event);
    Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: BRUSH * this.paint.width });
    context.strokeStyle = getComputedStyle(this.root).getPropertyValue("--paint");
    context.beginPath();
    context.moveTo(...this.last);
    context.lineTo(...next);
    context.stroke();
    this.last = next;
  }

  #place(event) {
    const { left, top, width, height } = this.paint.getBoundingClientRect();
    return [(event.clientX - left) * this.paint.width / width, (event.clientY - top) * this.paint.height / height];
  }

  /** Opaque where nothing is painted. */
  #mask() {
    const { width, height } = this.paint;
    const mask = Object.assign(document.createElement("canvas"), { width, height });
    const context = mask.getContext("2d");
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "destination-out";
    context.drawImage(this.paint, 0, 0);
    return mask.toDataURL("image/png");
  }
}

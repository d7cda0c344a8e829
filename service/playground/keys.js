// The API key's field: hidden until the server asks for a key.

import { apiKey, keepKey } from "./api.js";
import { $, announce } from "./dom.js";

export class KeyField {
  /** `onKey()` when a key was typed. */
  constructor(onKey) {
    this.field = $("#key-field");
    this.onKey = onKey;
    $("#key-save").addEventListener("click", () => this.#save());
    $("#key").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.#save();
    });
  }

  /** Called whenever the server has refused a request for want of a key. */
  ask() {
    $("#key").toggleAttribute("aria-invalid", Boolean(apiKey()));
    if (apiKey()) {
      $("#key-hint").textContent = "The server does not know this key. Look for a typing error, or ask who runs it.";
    }
    if (!this.field.hidden) return;
    this.field.hidden = false;
    announce("This server asks for an API key.");
  }

  accepted() {
    this.field.hidden = true;
  }

  #save() {
    keepKey($("#key").value.trim());
    this.onKey();
  }
}

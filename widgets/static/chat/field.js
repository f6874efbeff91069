// @ts-check
/** A field to write in. */

import { h } from "./elements.js";

/** A field to write in, as high as its text. */
export class Field {
  /** @param {Record<string, any>} properties @param {() => void} enter */
  constructor(properties, enter) {
    this.area = h("textarea", { rows: 1, spellcheck: true, ...properties, onInput: () => this.fit() });
    this.area.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      // Enter also ends a word that is put together from several keys (isComposing)
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      enter();
    });
  }

  get text() {
    return this.area.value;
  }

  set text(value) {
    this.area.value = value;
    this.fit();
  }

  fit() {
    this.area.style.height = "auto";
    if (this.area.scrollHeight) this.area.style.height = `${this.area.scrollHeight}px`;
  }
}

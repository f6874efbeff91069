/** Where memory goes. */

import { make, write } from "./page.js";
import { bytes } from "./words.js";

const MEMORY_CLASSES = ["weights", "cache", "steps", "others", "free"];

/** Where the device's memory goes: one bar, and what its parts mean. */
export class Memory {
  constructor() {
    this.element = make("div", "memory");
    this.bar = make("div", "memory-bar");
    this.bar.setAttribute("role", "img");
    this.legend = make("div", "legend");
    this.element.append(this.bar, this.legend);
  }

  /** @param {[string, number][]} parts */
  draw(parts) {
    const total = parts.reduce((sum, [, size]) => sum + size, 0) || 1;
    while (this.bar.children.length < parts.length) {
      const kind = MEMORY_CLASSES[this.bar.children.length];
      this.bar.append(make("div", `part ${kind}`));
      const key = make("span", "key");
      key.append(make("span", `swatch part ${kind}`), make("span", ""));
      this.legend.append(key);
    }
    const texts = parts.map(([name, size]) => `${name} ${bytes(size)}`);
    parts.forEach(([, size], place) => {
      this.bar.children[place].style.flexGrow = size / total;
      write(this.legend.children[place].lastChild, texts[place]);
    });
    this.bar.setAttribute("aria-label", `Memory: ${texts.join(", ")}`);
  }
}

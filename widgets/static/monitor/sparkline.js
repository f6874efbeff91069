/** Lines of the history. */

import { SVG, make, write } from "./page.js";

/** A line of the history with its newest value. */
export class Sparkline {
  constructor(line) {
    this.line = line;
    this.element = make("div", "figure");
    this.value = make("span", "value", "–");
    this.path = document.createElementNS(SVG, "path");
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 30");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.append(this.path);
    const label = make("div", "label", line.name);
    const said = make("div", "said");
    said.append(this.value, make("span", "unit", line.unit));
    this.element.append(label, said, svg);
  }

  /** @param {(number|null)[][]} history oldest first; a null breaks the line */
  draw(history) {
    const values = history.map((sample) => sample[this.line.place]);
    const newest = values.at(-1);
    write(this.value, newest == null ? "–" : this.line.write(newest));
    const most = this.line.most ?? Math.max(...values.map((value) => value ?? 0), 1e-9);
    let path = "";
    let isDrawn = false;
    values.forEach((value, index) => {
      if (value !== null) {
        const x = values.length < 2 ? 100 : (100 * index) / (values.length - 1);
        path += `${isDrawn ? "L" : "M"}${x.toFixed(1)} ${(28 - (26 * value) / most).toFixed(1)}`;
      }
      isDrawn = value !== null;
    });
    this.path.setAttribute("d", path);
  }
}

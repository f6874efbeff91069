/** How cells are drawn. */

import { CACHED, FREE, NUM_HUES } from "./cells.js";

/** Draws cells in the theme's colours. Kinds differ in shape and lightness; hues only tell requests apart. */
export class Brush {
  constructor(context, style, size) {
    const colour = (name) => style.getPropertyValue(`--pnb-${name}`).trim();
    this.context = context;
    this.hues = Array.from({ length: NUM_HUES }, (_, hue) => colour(`hue-${hue}`));
    [this.ink, this.paper, this.line, this.faint, this.grey] = ["ink", "paper", "line", "faint", "grey"].map(colour);
    this.side = size - (size >= 12 ? 3 : size >= 8 ? 2 : 1);
  }

  /** One block; with owners and without a hue it is shared. `share` of it holds tokens. */
  block(x, y, code, hue, share) {
    if (code === FREE) this.#outline(x, y);
    else if (code === CACHED) this.#cached(x, y);
    else if (hue === null) this.#shared(x, y);
    else this.#owned(x, y, hue, share);
  }

  /** Several blocks as bands, from the bottom up: owned, shared and cached ones. */
  several(x, y, mix, hue) {
    this.#outline(x, y);
    let bottom = y + this.side;
    [this.hues[hue ?? 0], this.ink, this.grey].forEach((colour, place) => {
      const height = (this.side * mix[place]) / 255;
      bottom -= height;
      this.context.fillStyle = colour;
      this.context.fillRect(x, bottom, this.side, height);
    });
  }

  /** A frame around the cell that is looked at. */
  frame(x, y) {
    this.context.strokeStyle = this.ink;
    this.context.lineWidth = 2;
    this.context.strokeRect(x - 0.5, y - 0.5, this.side + 1, this.side + 1);
  }

  #outline(x, y) {
    this.context.strokeStyle = this.side > 7 ? this.line : this.faint; // a thousand small frames are a pattern
    this.context.lineWidth = 1;
    this.context.strokeRect(x + 0.5, y + 0.5, this.side - 1, this.side - 1);
  }

  #cached(x, y) {
    this.context.fillStyle = this.faint;
    this.context.fillRect(x, y, this.side, this.side);
    this.#outline(x, y);
    this.context.fillStyle = this.grey;
    const dot = this.side >= 9 ? 2 : 1.5;
    const places = this.side >= 9 ? [0.32, 0.68] : [0.5];
    for (const across of places) {
      for (const down of places) this.context.fillRect(x + across * this.side - dot / 2, y + down * this.side - dot / 2, dot, dot);
    }
  }

  #shared(x, y) {
    this.context.fillStyle = this.ink;
    this.context.fillRect(x, y, this.side, this.side);
    this.context.strokeStyle = this.paper;
    this.context.lineWidth = Math.max(1, this.side / 6);
    this.context.beginPath();
    this.context.moveTo(x + 0.15 * this.side, y + 0.85 * this.side);
    this.context.lineTo(x + 0.85 * this.side, y + 0.15 * this.side);
    this.context.stroke();
  }

  #owned(x, y, hue, share) {
    const alpha = this.context.globalAlpha;
    const height = this.side * share;
    this.context.fillStyle = this.hues[hue];
    this.context.globalAlpha = 0.28 * alpha;
    this.context.fillRect(x, y, this.side, this.side);
    this.context.globalAlpha = alpha;
    this.context.fillRect(x, y + this.side - height, this.side, height);
  }
}

/** The KV cache as a grid of cells. */

import { Brush } from "./brush.js";
import { CACHED, FIRST_OWNERS, FREE, NUM_HUES } from "./cells.js";
import { make, write } from "./page.js";
import { count } from "./words.js";

const MAX_GRID_HEIGHT = 270;
const CELL_SIZES = [18, 16, 14, 12, 10, 9, 8, 7, 6, 5];

/** @param {string} text base64 @returns {Uint8Array} */
function decode(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** The canvas of cells: one KV block each, or several where there are many. */
export class Grid {
  /** @param {(requests: number[]) => void} onPick hears whose cell is looked at */
  constructor(onPick) {
    this.onPick = onPick;
    this.picked = []; // requests whose cells stand out
    this.cell = null; // the cell that is looked at
    this.element = make("div", "grid");
    this.canvas = make("canvas", "canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.tip = make("div", "tip");
    this.tip.hidden = true;
    this.tip.setAttribute("role", "status");
    this.legend = make("div", "legend");
    this.element.append(this.canvas, this.tip, this.legend);
    this.canvas.addEventListener("pointermove", (event) => this.#look(this.#cellAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.#look(null));
    this.canvas.addEventListener("blur", () => this.#look(null));
    this.canvas.addEventListener("keydown", (event) => this.#move(event));
    this.resizing = new ResizeObserver(() => this.redraw());
    this.resizing.observe(this.element);
  }

  /** @param {any} grid of a frame @param {any[]} requests */
  draw(grid, requests) {
    this.grid = grid;
    this.computed = new Map(requests.map((request) => [request.id, request.computed]));
    this.codes = new Uint16Array(decode(grid.codes).buffer);
    this.columns = new Uint16Array(decode(grid.columns).buffer);
    this.tokens = decode(grid.tokens);
    this.mix = decode(grid.mix);
    this.canvas.setAttribute("aria-label", this.#inWords());
    this.#drawLegend();
    this.redraw();
    if (this.cell !== null) this.#look(Math.min(this.cell, this.codes.length - 1));
  }

  redraw() {
    const width = this.element.clientWidth;
    if (!this.grid || !width) return;
    this.#fit(width);
    const context = this.canvas.getContext("2d");
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = width * scale;
    this.canvas.height = this.height * scale;
    this.canvas.style.height = `${this.height}px`;
    context.scale(scale, scale);
    const brush = new Brush(context, getComputedStyle(this.element), this.size);
    for (let cell = 0; cell < this.codes.length; cell++) {
      const [x, y] = [(cell % this.perRow) * this.size, Math.floor(cell / this.perRow) * this.size];
      context.globalAlpha = this.#standsOut(cell) ? 1 : 0.22;
      if (this.mix.length) brush.several(x, y, this.mix.subarray(3 * cell, 3 * cell + 3), this.#hue(cell));
      else brush.block(x, y, this.codes[cell], this.#hue(cell), this.tokens[cell] / this.grid.block_size);
    }
    context.globalAlpha = 1;
    if (this.cell !== null) brush.frame((this.cell % this.perRow) * this.size, Math.floor(this.cell / this.perRow) * this.size);
  }

  /** Let the cells of these requests stand out; all when there is none. */
  pick(requests) {
    this.picked = requests;
    this.redraw();
  }

  close() {
    this.resizing.disconnect();
  }

  /** Take the largest cells with which the grid is not too high. */
  #fit(width) {
    for (const size of CELL_SIZES) {
      this.size = size;
      this.perRow = Math.max(1, Math.floor(width / size));
      this.height = Math.ceil(this.codes.length / this.perRow) * size;
      if (this.height <= MAX_GRID_HEIGHT) return;
    }
  }

  #owners(cell) {
    return this.codes[cell] < FIRST_OWNERS ? [0] : this.grid.owners[this.codes[cell] - FIRST_OWNERS];
  }

  /** The number of a colour, or null for what belongs to several or to nobody. */
  #hue(cell) {
    const [number, first] = this.#owners(cell);
    return number === 1 ? first % NUM_HUES : null;
  }

  #standsOut(cell) {
    if (!this.picked.length) return true;
    const [, ...requests] = this.#owners(cell);
    return requests.some((request) => this.picked.includes(request));
  }

  #cellAt(event) {
    if (!this.grid) return null;
    const column = Math.floor(event.offsetX / this.size);
    const cell = Math.floor(event.offsetY / this.size) * this.perRow + column;
    return column >= 0 && column < this.perRow && cell >= 0 && cell < this.codes.length ? cell : null;
  }

  #move(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.perRow, ArrowUp: -this.perRow };
    const last = (this.codes?.length ?? 0) - 1;
    const cell = this.cell ?? 0;
    if (event.key === "Escape") this.#look(null);
    else if (event.key === "Home") this.#look(0);
    else if (event.key === "End") this.#look(last);
    else if (event.key in steps) this.#look(this.cell === null ? 0 : Math.max(0, Math.min(last, cell + steps[event.key])));
    else return;
    event.preventDefault();
    event.stopPropagation(); // arrow keys move between cells of the notebook, too
  }

  #look(cell) {
    const hasMoved = cell !== this.cell;
    this.cell = cell;
    this.tip.hidden = cell === null;
    if (cell !== null) {
      write(this.tip, this.#describe(cell));
      const x = (cell % this.perRow) * this.size;
      const y = Math.floor(cell / this.perRow) * this.size + this.size + 4;
      this.tip.style.top = `${y}px`;
      this.tip.style.left = `${Math.max(0, Math.min(x, this.element.clientWidth - this.tip.offsetWidth))}px`;
    }
    if (hasMoved) {
      this.onPick(cell === null ? [] : this.#owners(cell).slice(1));
      this.redraw();
    }
  }

  /** Say which block a cell is, whose, and which tokens lie in it. */
  #describe(cell) {
    const first = 1 + cell * this.grid.per_cell;
    if (this.mix.length) return this.#describeSeveral(cell, first);
    const code = this.codes[cell];
    if (code === FREE) return `Block ${count(first)}\nfree`;
    if (code === CACHED) return `Block ${count(first)}\nno owner; keeps ${this.tokens[cell]} tokens of a prefix`;
    const [number, ...requests] = this.#owners(cell);
    const start = this.columns[cell] * this.grid.block_size;
    const whose = number === 1 ? `request ${requests[0]}` : `shared by ${number} requests: ${this.#names(number, requests)}`;
    const total = number === 1 && this.computed.has(requests[0]) ? ` of ${count(this.computed.get(requests[0]))}` : "";
    const tokens = this.tokens[cell] ? `tokens ${start + 1} to ${start + this.tokens[cell]}${total}` : "no tokens yet";
    return `Block ${count(first)}\n${whose}\n${tokens}`;
  }

  #describeSeveral(cell, first) {
    const last = Math.min(first + this.grid.per_cell - 1, this.grid.num_blocks);
    const numbers = [...this.mix.subarray(3 * cell, 3 * cell + 3)].map((share) => Math.round((share * this.grid.per_cell) / 255));
    const names = ["with one owner", "shared", "cached"];
    const parts = names.map((name, place) => (numbers[place] ? `${numbers[place]} ${name}` : "")).filter(Boolean);
    const numFree = last - first + 1 - numbers.reduce((sum, number) => sum + number, 0);
    if (numFree > 0) parts.push(`${numFree} free`);
    const [number, ...requests] = this.#owners(cell);
    const whose = number ? `\namong the owners: ${this.#names(number, requests)}` : "";
    return `Blocks ${count(first)} to ${count(last)}\n${parts.join(", ")}${whose}`;
  }

  #names(number, requests) {
    return requests.join(", ") + (number > requests.length ? ", …" : "");
  }

  #inWords() {
    const [owned, shared, cached, free] = this.grid.counts.map(count);
    const all = count(this.grid.num_blocks);
    return `${all} KV blocks: ${owned} with one owner, ${shared} shared, ${cached} cached, ${free} free. Arrow keys look at cells.`;
  }

  #drawLegend() {
    const names = ["one owner", "shared", "cached prefix", "free"];
    const kinds = ["owned", "shared", "cached", "free"];
    if (!this.legend.children.length) {
      this.legend.append(
        ...kinds.map((kind) => {
          const item = make("span", "key");
          item.append(make("span", `swatch ${kind}`), make("span", ""));
          return item;
        }),
        make("span", "size"),
      );
    }
    kinds.forEach((kind, place) => write(this.legend.children[place].lastChild, `${names[place]} ${count(this.grid.counts[place])}`));
    const several = this.grid.per_cell > 1 ? `, ${this.grid.per_cell} a cell` : "";
    write(this.legend.lastChild, `${count(this.grid.num_blocks)} blocks of ${this.grid.block_size} tokens${several}`);
  }
}

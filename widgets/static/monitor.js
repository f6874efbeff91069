// The views of `pnb.monitor()`. The kernel sends whole frames, `model.get("frame")`; a view keeps nothing but what it
// draws. The fields of a frame are explained in pagednb/monitoring/frame.py. Texts of the kernel are placed as text.

const FREE = 0;
const CACHED = 1;
const FIRST_OWNERS = 2; // codes from here on are places in `grid.owners`: [how many, request, request, ...]
const NUM_HUES = 8;
const PING_MS = 15_000; // the kernel takes a view for gone that is silent for a minute
const MAX_GRID_HEIGHT = 270;
const CELL_SIZES = [18, 16, 14, 12, 10, 9, 8, 7, 6, 5];
const SVG = "http://www.w3.org/2000/svg";

/** Lines of the history: name, unit, place in a sample, and how a value is written. */
const LINES = [
  { name: "Generated", unit: "tokens/s", place: 1, write: count },
  { name: "Prompts", unit: "tokens/s", place: 0, write: count },
  { name: "Cache hits", unit: "of prompts", place: 2, write: percent, most: 1 },
  { name: "Step", unit: "ms", place: 3, write: (ms) => ms.toPrecision(3) },
];
const MEMORY_CLASSES = ["weights", "cache", "steps", "others", "free"];

function count(number) {
  return Math.round(number).toLocaleString("en-US");
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function times(number) {
  return number === 1 ? "once" : `${count(number)} times`;
}

function bytes(number) {
  const [unit, size] = number >= 2 ** 30 ? ["GiB", 2 ** 30] : ["MiB", 2 ** 20];
  return `${(number / size).toFixed(number >= 100 * size ? 0 : 1)} ${unit}`;
}

/** @param {string} tag @param {string} name of its class, without the prefix @param {string} [text] */
function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name.split(" ").map((each) => `pnb-monitor-${each}`).join(" ");
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Change a text only if it differs: a text that is set again loses its selection. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} text base64 @returns {Uint8Array} */
function decode(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** A line of the history with its newest value. */
class Sparkline {
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

/** The canvas of cells: one KV block each, or several where there are many. */
class Grid {
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

/** Draws cells in the theme's colours. Kinds differ in shape and lightness; hues only tell requests apart. */
class Brush {
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

/** Where the device's memory goes: one bar, and what its parts mean. */
class Memory {
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

/** The requests that are served first: how much of the prompt is computed, and of the answer generated. */
class Requests {
  /** @param {(requests: number[]) => void} onPick hears which row is looked at */
  constructor(onPick) {
    this.onPick = onPick;
    this.element = make("div", "requests");
    this.heading = make("div", "label");
    this.rows = make("ul", "rows");
    this.more = make("div", "more");
    this.element.append(this.heading, this.rows, this.more);
  }

  draw(frame) {
    const { requests } = frame;
    const preempted = frame.num_preemptions ? ` · preempted ${times(frame.num_preemptions)}` : "";
    write(
      this.heading,
      `${count(frame.num_running)} running · ${count(frame.num_waiting)} waiting · ${count(frame.num_finished)} finished${preempted}`,
    );
    while (this.rows.children.length > requests.length) this.rows.lastChild.remove();
    while (this.rows.children.length < requests.length) this.rows.append(this.#newRow());
    requests.forEach((request, place) => this.#drawRow(this.rows.children[place], request));
    const numMore = frame.num_running + frame.num_waiting - requests.length;
    write(this.more, numMore > 0 ? `and ${count(numMore)} more` : "");
  }

  /** Mark the rows of requests whose cell is looked at. */
  mark(requests) {
    for (const row of this.rows.children) row.classList.toggle("pnb-monitor-marked", requests.includes(Number(row.dataset.id)));
  }

  #newRow() {
    const row = make("li", "row");
    const bar = make("span", "bar");
    bar.setAttribute("role", "progressbar");
    bar.append(make("span", "prompt"), make("span", "answer"));
    row.append(make("span", "swatch owned"), make("span", "name"), make("span", "state"), bar, make("span", "tokens"));
    row.addEventListener("pointerenter", () => this.onPick([Number(row.dataset.id)]));
    row.addEventListener("pointerleave", () => this.onPick([]));
    return row;
  }

  #drawRow(row, request) {
    const [swatch, name, state, bar, tokens] = row.children;
    const total = request.prompt + request.max_tokens;
    const numPrompt = Math.min(request.computed, request.prompt);
    row.dataset.id = request.id;
    swatch.style.setProperty("--pnb-own", request.blocks ? `var(--pnb-hue-${request.id % NUM_HUES})` : "none");
    row.classList.toggle("pnb-monitor-waits", !request.blocks);
    write(name, `${request.id}${request.watched ? " ◉" : ""}`);
    name.title = request.watched ? "somebody watches its stream" : `priority ${request.priority}`;
    write(state, request.preempted && request.blocks ? `${request.state} ↺${request.preempted}` : request.state);
    state.title = request.preempted ? `preempted ${times(request.preempted)}` : "";
    bar.children[0].style.width = `${(100 * numPrompt) / total}%`;
    bar.children[1].style.width = `${(100 * request.generated) / total}%`;
    bar.style.setProperty("--pnb-prompt-end", `${(100 * request.prompt) / total}%`);
    const said = `${count(numPrompt)} of ${count(request.prompt)} prompt tokens computed, ${count(request.generated)} of ${count(request.max_tokens)} generated`;
    const share = Math.round((100 * (numPrompt + request.generated)) / total);
    for (const [attribute, value] of [["valuenow", share], ["valuetext", said], ["label", `Request ${request.id}`]]) {
      bar.setAttribute(`aria-${attribute}`, value);
    }
    bar.title = request.found ? `${said}; ${count(request.found)} were found in the cache` : said;
    write(tokens, `${count(request.generated)}/${count(request.max_tokens)}`);
  }
}

/** One view: everything above, drawn anew from each frame. */
class View {
  constructor(model, el) {
    this.model = model;
    this.id = crypto.randomUUID?.() ?? String(Math.random());
    this.root = make("section", "root");
    this.root.classList.add("pnb-monitor");
    this.root.setAttribute("aria-label", "pagednb monitor");
    this.title = make("span", "title");
    this.state = make("span", "state-now");
    this.state.setAttribute("role", "status");
    this.words = make("p", "words"); // for screen readers, to be read when wanted: no live region
    this.message = make("p", "message");
    this.lines = LINES.map((line) => new Sparkline(line));
    this.grid = new Grid((requests) => this.requests.mark(requests));
    this.memory = new Memory();
    this.requests = new Requests((requests) => this.grid.pick(requests));
    const head = make("header", "head");
    head.append(this.title, this.state);
    const figures = make("div", "figures");
    figures.append(...this.lines.map((line) => line.element));
    this.body = make("div", "body");
    this.body.append(figures, this.grid.element, this.requests.element, this.memory.element);
    this.root.append(head, this.words, this.message, this.body);
    el.append(this.root);
    this.#listen();
    this.draw();
    this.ping();
  }

  draw() {
    const frame = this.model.get("frame") ?? {};
    const hasEngine = Boolean(frame.grid);
    this.root.dataset.state = frame.state ?? "waiting";
    this.body.hidden = !hasEngine;
    this.message.hidden = hasEngine;
    write(this.title, frame.model || "pagednb");
    write(this.state, frame.state ?? "");
    write(this.words, frame.said ?? "");
    if (!hasEngine) {
      const isUnloaded = frame.state === "unloaded";
      write(this.message, isUnloaded ? "No model is loaded. pnb.load() loads one." : "Waiting for the kernel …");
      return;
    }
    for (const line of this.lines) line.draw(frame.history);
    this.grid.draw(frame.grid, frame.requests);
    this.requests.draw(frame);
    this.memory.draw(frame.memory);
  }

  /** Tell the kernel that somebody is here. */
  ping() {
    this.lastPing = Date.now();
    this.tell("watch");
  }

  /** @param {"watch" | "leave"} type */
  tell(type) {
    try {
      this.model.send({ type, view: this.id });
    } catch {
      clearInterval(this.timer); // ipywidgets throws where the kernel's end of the line is gone: no frame will come
      this.root.dataset.state = "gone";
      write(this.state, "ended with its kernel");
    }
  }

  close() {
    clearInterval(this.timer);
    this.model.off("change:frame", this.onFrame);
    this.model.off("comm_live_update", this.onKernel);
    this.themes.disconnect();
    this.schemes.removeEventListener("change", this.onTheme);
    window.removeEventListener("pagehide", this.onLeave);
    this.grid.close();
    this.onLeave();
  }

  #listen() {
    this.onFrame = () => this.draw();
    this.onTheme = () => this.grid.redraw();
    this.onKernel = () => this.ping();
    this.onLeave = () => this.tell("leave");
    this.model.on("change:frame", this.onFrame);
    this.model.on("comm_live_update", this.onKernel); // ipywidgets' word for a kernel that was restarted, or is back
    this.timer = setInterval(() => this.ping(), PING_MS);
    this.root.addEventListener("pointerenter", () => Date.now() - this.lastPing > 2_000 && this.ping());
    window.addEventListener("pagehide", this.onLeave);
    this.themes = new MutationObserver(this.onTheme);
    this.themes.observe(document.body, { attributes: true });
    this.schemes = window.matchMedia("(prefers-color-scheme: dark)");
    this.schemes.addEventListener("change", this.onTheme);
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};

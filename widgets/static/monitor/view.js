/** A view: everything, drawn anew from each frame. */

import { Grid } from "./grid.js";
import { Memory } from "./memory.js";
import { make, write } from "./page.js";
import { Requests } from "./requests.js";
import { Sparkline } from "./sparkline.js";
import { count, percent } from "./words.js";

const PING_MS = 15_000; // the kernel takes a view for gone that is silent for a minute

/** Lines of the history: name, unit, place in a sample, and how a value is written. */
const LINES = [
  { name: "Generated", unit: "tokens/s", place: 1, write: count },
  { name: "Prompts", unit: "tokens/s", place: 0, write: count },
  { name: "Cache hits", unit: "of prompts", place: 2, write: percent, most: 1 },
  { name: "Step", unit: "ms", place: 3, write: (ms) => ms.toPrecision(3) },
];

/** One view: everything above, drawn anew from each frame. */
export class View {
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

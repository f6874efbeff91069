// @ts-check
/** Figures below the conversation. */

import { h } from "./elements.js";

/**
 * @typedef {import("./shapes.js").Figures} Figures
 * @typedef {import("./shapes.js").ModelCard} ModelCard
 */

/** @param {number} count */
function compact(count) {
  return count < 1000 ? String(count) : `${(count / 1000).toFixed(count < 100_000 ? 1 : 0)}k`;
}

/** The figures of the last answer, and how full the model's context is. */
export class Counters {
  constructor() {
    this.line = h("div", { className: "pnb-chat-counters", data: { role: "counters" } });
    this.bar = h("span", { className: "pnb-chat-meter-bar" });
    this.label = h("span", {});
    this.meter = h("span", { className: "pnb-chat-meter" }, this.bar);
    this.context = h("div", { className: "pnb-chat-context", data: { role: "context" } }, this.meter, this.label);
    this.element = h("div", { className: "pnb-chat-foot" }, this.line, this.context);
  }

  /** @param {Figures | null} figures @param {ModelCard | null} model */
  draw(figures, model) {
    const used = figures ? figures.num_prompt_tokens + figures.num_new_tokens : 0;
    const size = figures?.max_context_tokens ?? model?.max_context_tokens ?? 0;
    this.context.hidden = !size;
    const share = size ? Math.min(1, used / size) : 0;
    this.bar.style.width = `${100 * share}%`;
    this.context.classList.toggle("pnb-chat-full", share > 0.9);
    this.meter.hidden = !figures; // before the first answer nobody has counted
    this.label.textContent = figures ? `${compact(used)} / ${compact(size)}` : `context ${compact(size)}`;
    const counted = figures ? `${used.toLocaleString("en")} of ${size.toLocaleString("en")}` : size.toLocaleString("en");
    this.context.title = `${counted} tokens of context`;
    this.line.replaceChildren(...(figures ? this.spans(figures) : []));
  }

  /** @param {Figures} figures */
  spans(figures) {
    const count = (/** @type {number} */ value) => value.toLocaleString("en");
    const shown = [
      ["prompt", `${count(figures.num_prompt_tokens)} prompt`, "Tokens of the prompt"],
      ["cached", `${count(figures.num_cached_tokens)} cached`, "Of these, found in the prefix cache"],
      ["new", `${count(figures.num_new_tokens)} new`, "Tokens of the answer"],
    ];
    if (figures.tokens_per_s) {
      shown.push(["speed", `${figures.tokens_per_s.toFixed(1)} tok/s`, "Speed behind the first token"]);
    }
    if (figures.first_token_s != null) {
      shown.push(["first", `${figures.first_token_s.toFixed(2)} s to first token`, "From Enter to the first token"]);
    }
    return shown.map(([counter, text, title]) => h("span", { title, data: { counter } }, text));
  }
}

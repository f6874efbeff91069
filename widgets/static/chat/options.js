// @ts-check
/** The panel of options. */

import { h } from "./elements.js";

/** @typedef {import("./shapes.js").ModelCard} ModelCard */

const NUMBER_OPTIONS = [
  { name: "temperature", label: "Temperature", min: 0, step: 0.1, hint: "0 takes the likeliest word always" },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.05, hint: "Only the likeliest words that reach this share" },
  { name: "top_k", label: "Top k", min: 0, step: 1, hint: "Only so many of the likeliest words; 0 for all" },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, hint: "No words below this share of the likeliest one" },
  { name: "max_tokens", label: "Max tokens", min: 1, step: 1, hint: "Where every answer ends at the latest" },
  { name: "seed", label: "Seed", step: 1, hint: "The same seed draws the same answer" },
];

const PLACEHOLDERS = { max_tokens: "no limit", seed: "random" };

/** Sampling parameters, system prompt and thinking. */
export class OptionsPanel {
  /** @param {(changes: object) => void} change */
  constructor(change) {
    const id = `pnb-chat-system-${Math.random().toString(36).slice(2)}`;
    this.system = h("textarea", {
      id,
      rows: 2,
      className: "pnb-chat-input",
      placeholder: "What the model should know and how it should answer",
      data: { option: "system" },
      onChange: () => change({ system: this.system.value }),
    });
    this.thinking = h("select", {
      className: "pnb-chat-input",
      data: { option: "thinking" },
      onChange: () => change({ thinking: { auto: null, on: true, off: false }[this.thinking.value] }),
    });
    for (const [value, label] of [["auto", "Auto"], ["on", "On"], ["off", "Off"]]) {
      this.thinking.append(h("option", { value }, label));
    }
    this.numbers = NUMBER_OPTIONS.map(({ name, label, hint, ...limits }) => {
      const shape = { type: "number", className: "pnb-chat-input", ...limits };
      const field = h("input", { ...shape, title: hint, data: { option: name } });
      field.addEventListener("change", () => change({ [name]: field.value === "" ? null : Number(field.value) }));
      return { name, label, field };
    });
    const labelled = (/** @type {string} */ label, /** @type {Node} */ field) =>
      h("label", {}, h("span", {}, label), field);
    const grid = this.numbers.map(({ label, field }) => labelled(label, field));
    this.element = h(
      "section",
      { className: "pnb-chat-options", hidden: true, aria: { label: "Options" } },
      h("label", { className: "pnb-chat-wide" }, h("span", {}, "System prompt"), this.system),
      ...grid,
      labelled("Thinking", this.thinking),
    );
  }

  /** @param {Record<string, any>} options @param {ModelCard | null} model */
  draw(options, model) {
    const root = /** @type {Document | ShadowRoot} */ (this.element.getRootNode());
    const set = (/** @type {any} */ field, /** @type {string} */ value) => {
      if (field !== root.activeElement) field.value = value; // nobody's typing is overwritten
    };
    set(this.system, options.system ?? "");
    for (const { name, field } of this.numbers) {
      set(field, options[name] ?? "");
      field.placeholder = String(model?.defaults[name] ?? PLACEHOLDERS[name] ?? "default");
    }
    const canSwitch = model === null || model.can_switch_thinking || options.thinking != null;
    this.thinking.disabled = !canSwitch;
    const hint = "Whether the model thinks before it answers";
    this.thinking.title = canSwitch ? hint : "This model has no switch for thinking";
    set(this.thinking, { true: "on", false: "off" }[String(options.thinking)] ?? "auto");
  }
}

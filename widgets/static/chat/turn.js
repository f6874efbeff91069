// @ts-check
/** One turn of a conversation: its text and thoughts, what became of it, and what can be pressed. */

import { Blocks } from "./blocks.js";
import { copy, h, icon, iconButton } from "./elements.js";
import { Field } from "./field.js";

/**
 * @typedef {import("./shapes.js").Figures} Figures
 * @typedef {import("./shapes.js").Turn} Turn
 */

const STATE_NOTES = { stopped: "Stopped", cut: "Ended by the length limit" };

/** @param {Figures | null} figures */
function thoughtLabel(figures) {
  if (!figures || !figures.num_thinking_tokens) return "Thoughts";
  return `Thought ${figures.thinking_s.toFixed(1)} s, ${figures.num_thinking_tokens.toLocaleString("en")} tokens`;
}

/** One turn of the branch. */
export class TurnView {
  /** @param {Turn} turn @param {(message: any) => void} send */
  constructor(turn, send) {
    this.turn = turn;
    this.send = send;
    this.isBusy = false;
    const isUser = turn.role === "user";
    this.element = h("article", {
      className: `pnb-chat-turn pnb-chat-${turn.role}`,
      data: { turn: turn.id, role: turn.role },
      aria: { label: isUser ? "You" : "Model" },
    });
    this.text = h("div", {
      className: isUser ? "pnb-chat-said" : "pnb-chat-answer pnb-markdown",
      data: { part: isUser ? "question" : "answer" },
    });
    this.answer = new Blocks(this.text);
    this.thoughts = h("div", { className: "pnb-chat-thoughts pnb-markdown", hidden: true, data: { part: "thinking" } });
    this.thinking = new Blocks(this.thoughts);
    this.fold = h("button", {
      type: "button",
      className: "pnb-chat-fold",
      data: { action: "thoughts" },
      aria: { expanded: "false" },
      onClick: () => this.unfold(this.thoughts.hidden),
    });
    this.note = h("div", { className: "pnb-chat-note" });
    this.tools = h("div", { className: "pnb-chat-tools" });
    const thinking = isUser ? [] : [this.fold, this.thoughts];
    this.body = h("div", { className: "pnb-chat-body" }, ...thinking, this.text, this.note);
    this.element.append(this.body, this.tools);
    this.update(turn);
    if (turn.thinking && turn.answer) this.showParts(turn);
  }

  /** @param {Turn} turn */
  showParts(turn) {
    if (turn.thinking) this.thinking.show(turn.thinking);
    if (turn.answer) this.answer.show(turn.answer);
    this.drawFold();
  }

  /** Take over all of a turn but its HTML. @param {Turn} turn */
  update(turn) {
    this.turn = turn;
    this.element.dataset.state = turn.state;
    if (turn.role === "user") this.text.textContent = turn.text;
    this.drawFold();
    this.drawNote();
    this.drawTools();
  }

  /**
   * Let the turn grow.
   * @param {{
   *   part: "thinking" | "answer", keep: number, blocks: string[], tail: string, figures: Partial<Figures>,
   * }} patch
   */
  patch({ part, keep, blocks, tail, figures }) {
    this.turn.figures = /** @type {Figures} */ ({ ...this.turn.figures, ...figures });
    (part === "thinking" ? this.thinking : this.answer).patch(keep, blocks, tail);
    this.drawFold();
  }

  /** What the model needs to draw this turn again. @returns {Turn} */
  get drawn() {
    if (this.turn.role === "user") return this.turn;
    const part = (/** @type {Blocks} */ blocks) => ({ blocks: blocks.html, tail: "" });
    return { ...this.turn, thinking: part(this.thinking), answer: part(this.answer) };
  }

  /** @param {boolean} isOpen */
  unfold(isOpen) {
    this.thoughts.hidden = !isOpen;
    this.fold.setAttribute("aria-expanded", String(isOpen));
  }

  drawFold() {
    const isThinking = this.turn.state === "streaming" && !this.text.childElementCount;
    this.element.classList.toggle("pnb-chat-waits", isThinking && !this.thoughts.childElementCount);
    this.fold.hidden = !this.thoughts.childElementCount;
    const label = isThinking ? "Thinking…" : thoughtLabel(this.turn.figures);
    if (this.fold.lastChild?.textContent !== label) this.fold.replaceChildren(icon("next"), h("span", {}, label));
    this.fold.classList.toggle("pnb-chat-shimmer", isThinking);
  }

  drawNote() {
    const { state, error, is_edited } = this.turn;
    this.note.className = state === "failed" ? "pnb-chat-note pnb-chat-error" : "pnb-chat-note";
    const said = error ?? STATE_NOTES[state] ?? (is_edited ? "Edited" : "");
    this.note.hidden = !said;
    const again = () => this.send({ type: "regenerate", turn: this.turn.id });
    const retry = { type: "button", className: "pnb-chat-text-button", data: { action: "retry" }, onClick: again };
    this.note.replaceChildren(h("span", {}, said), ...(state === "failed" ? [h("button", retry, "Try again")] : []));
  }

  drawTools() {
    const { id, role, text, siblings, state } = this.turn;
    this.tools.hidden = state === "streaming";
    const hadFocus = /** @type {HTMLElement | null} */ (this.tools.querySelector(":focus"))?.dataset.action;
    const buttons = [
      ...(siblings.length > 1 ? this.branchButtons() : []),
      text && iconButton("copy", "Copy", (event) => copy(this.turn.text, /** @type {any} */ (event.currentTarget))),
      iconButton("edit", role === "user" ? "Edit and ask again" : "Edit the answer", () => this.edit()),
      role === "assistant" &&
        iconButton("regenerate", "Answer again", () => this.send({ type: "regenerate", turn: id })),
    ];
    this.tools.replaceChildren(...buttons.filter(Boolean));
    this.setBusy(this.isBusy);
    if (hadFocus) this.focus(hadFocus);
  }

  branchButtons() {
    const { id, siblings } = this.turn;
    const at = siblings.indexOf(id);
    const step = (/** @type {"previous" | "next"} */ name, /** @type {string} */ label, /** @type {number} */ by) => {
      const turn = siblings[at + by];
      const button = iconButton(name, label, () => turn && this.send({ type: "choose", turn }));
      button.setAttribute("aria-disabled", String(!turn)); // not disabled: the keyboard's focus would be lost
      return button;
    };
    const place = `${at + 1}/${siblings.length}`;
    const shown = h("span", { className: "pnb-chat-branch", data: { role: "branch" } }, place);
    return [step("previous", "Version before", -1), shown, step("next", "Next version", 1)];
  }

  /** @param {string} action */
  focus(action) {
    /** @type {HTMLElement | null} */ (this.tools.querySelector(`[data-action="${action}"]`))?.focus();
  }

  /** While an answer is on its way nothing may change but by Stop. @param {boolean} isBusy */
  setBusy(isBusy) {
    this.isBusy = isBusy;
    const names = '[data-action="edit"],[data-action="regenerate"],[data-action="previous"],[data-action="next"]';
    for (const button of this.tools.querySelectorAll(names)) /** @type {any} */ (button).disabled = isBusy;
  }

  /** Change the turn in its place. */
  edit() {
    const width = this.text.getBoundingClientRect().width;
    const close = () => {
      editor.remove();
      this.element.classList.remove("pnb-chat-editing");
    };
    const cancel = () => {
      close();
      this.focus("edit");
    };
    const save = () => {
      if (!field.text.trim()) return;
      close();
      this.send({ type: "edit", turn: this.turn.id, text: field.text });
    };
    const field = new Field({ className: "pnb-chat-input", value: this.turn.text, data: { role: "editor" } }, save);
    field.area.setAttribute("aria-label", "Edit this turn");
    const button = (/** @type {string} */ action, /** @type {string} */ label, /** @type {() => void} */ press) =>
      h("button", { type: "button", className: `pnb-chat-${action}`, data: { action }, onClick: press }, label);
    const hint = h("span", { className: "pnb-chat-hint" }, "Enter saves, Shift+Enter begins a line, Esc leaves it");
    const saves = button("save", this.turn.role === "user" ? "Ask again" : "Save", save);
    const buttons = h("div", { className: "pnb-chat-editor-buttons" }, hint, button("cancel", "Cancel", cancel), saves);
    const editor = h("div", { className: "pnb-chat-editor" }, field.area, buttons);
    editor.style.minWidth = `min(100%, ${Math.max(width, 360)}px)`;
    editor.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      cancel();
    });
    this.element.classList.add("pnb-chat-editing");
    this.body.before(editor);
    field.fit();
    field.area.focus();
    field.area.setSelectionRange(field.text.length, field.text.length);
  }
}

// @ts-check
/** A view of a whole chat: what the kernel says is drawn, what is pressed is sent. */

import { Announcer } from "./announcer.js";
import { Counters } from "./counters.js";
import { copy, h, iconButton, setIcon } from "./elements.js";
import { Field } from "./field.js";
import { GoButton } from "./go.js";
import { OptionsPanel } from "./options.js";
import { TurnView } from "./turn.js";

/**
 * @typedef {import("./shapes.js").State} State
 * @typedef {import("./shapes.js").Turn} Turn
 */

const PATIENCE_MS = 1500;
const CONFIRM_MS = 4000;
const READING_MS = 8000;
const NEAR_END_PX = 32;

const KERNEL_IS_BUSY = "The kernel is busy; this goes through as soon as it is free.";
const KERNEL_IS_GONE = "This chat ended with its kernel. Its cell, run again, begins a new one.";

/** One view of the chat. */
export class ChatView {
  /** @param {any} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.send = this.send.bind(this);
    this.seq = -1; // of the last message that was taken in
    this.isStale = false;
    this.isBusy = false;
    this.isPinned = true; // to the end of the log
    /** @type {string | null} */
    this.unheard = null; // a question that the kernel has not taken yet
    /** @type {TurnView[]} */
    this.turns = [];
    this.build();
    el.append(this.root);
    this.receive = this.receive.bind(this);
    this.look = () => this.send({ type: "draw" });
    /** @type {Record<string, (message: any) => void>} */
    this.draws = {
      turns: (message) => this.onTurns(message),
      patch: (message) => this.onPatch(message),
      turn: (message) => this.onTurn(message),
      head: (message) => this.onHead(message),
      notice: (message) => this.onNotice(message),
      draft: (message) => this.onDraft(message),
    };
    model.on("msg:custom", this.receive);
    model.on("comm_live_update", this.look); // ipywidgets' word for a kernel that was restarted, or is back
    this.adopt(model.get("state"));
    this.send({ type: "draw" });
    requestAnimationFrame(() => this.follow());
  }

  remove() {
    for (const timer of [this.patience, this.reading, this.doubt]) clearTimeout(timer);
    this.model.off("msg:custom", this.receive);
    this.model.off("comm_live_update", this.look);
    this.root.remove();
  }

  build() {
    this.announcer = new Announcer();
    this.counters = new Counters();
    this.panel = new OptionsPanel((options) => this.send({ type: "options", options }));
    this.log = h("div", {
      className: "pnb-chat-log",
      tabIndex: 0, // so that keys scroll it
      data: { role: "log" },
      aria: { label: "Conversation" },
      onScroll: () => this.notePin(),
    });
    this.log.setAttribute("role", "log");
    this.log.setAttribute("aria-live", "off"); // the announcer speaks instead, in whole sentences
    this.empty = h("div", { className: "pnb-chat-empty", data: { role: "empty" } });
    this.latest = iconButton("latest", "To the latest", () => this.toEnd());
    this.latest.classList.add("pnb-chat-latest");
    this.notice = h("div", { className: "pnb-chat-notice", hidden: true, data: { role: "notice" } });
    this.notice.setAttribute("role", "status");
    const style = h("style", {}, this.model.get("stylesheet") ?? "");
    const middle = h("div", { className: "pnb-chat-middle" }, this.log, this.latest);
    const onKeydown = (/** @type {KeyboardEvent} */ event) => this.onKey(event);
    this.root = h("div", { className: "pnb-chat", onKeydown });
    // JupyterLab takes keys before anyone else (Enter edits the cell, Shift+Enter runs it) except where it finds this
    this.root.dataset.lmSuppressShortcuts = "true";
    const top = [style, this.header(), this.panel.element];
    this.root.append(...top, middle, this.notice, this.composer(), this.counters.element, this.announcer.element);
  }

  header() {
    this.title = h("span", { className: "pnb-chat-title" });
    this.chip = h("span", { className: "pnb-chat-model", data: { role: "model" } });
    this.undo = iconButton("undo", "Undo the last step", () => this.send({ type: "undo" }));
    this.clear = iconButton("clear", "Clear the conversation", () => this.confirmClear());
    this.transcript = iconButton("copy", "Copy the transcript", () => copy(this.asText(), this.transcript));
    this.transcript.dataset.action = "copy-transcript";
    this.settings = iconButton("options", "Options", () => this.toggleOptions());
    this.settings.setAttribute("aria-expanded", "false");
    const all = [this.undo, this.transcript, this.clear, this.settings];
    const buttons = h("span", { className: "pnb-chat-header-buttons" }, ...all);
    return h("header", { className: "pnb-chat-header" }, this.title, this.chip, buttons);
  }

  composer() {
    const shape = { className: "pnb-chat-draft", placeholder: "Ask something", data: { role: "composer" } };
    this.field = new Field(shape, () => this.ask());
    this.field.area.setAttribute("aria-label", "Message");
    this.field.area.addEventListener("input", () => this.drawSend());
    this.go = new GoButton(
      () => this.ask(),
      () => this.send({ type: "stop" }),
    );
    const box = h("div", { className: "pnb-chat-composer" }, this.field.area, this.go.element);
    box.addEventListener("click", (/** @type {Event} */ event) => event.target === box && this.field.area.focus());
    return box;
  }

  // ---- to the kernel

  /** @param {{ type: string }} message */
  send(message) {
    clearTimeout(this.patience);
    try {
      this.model.send(message);
    } catch {
      this.lose(); // ipywidgets throws where the kernel's end of the line is gone
      return;
    }
    if (message.type !== "draw") this.patience = setTimeout(() => this.tell(KERNEL_IS_BUSY), PATIENCE_MS);
  }

  ask() {
    const text = this.field.text;
    if (this.isBusy || !text.trim()) return;
    this.unheard = text;
    this.field.text = "";
    this.isPinned = true;
    this.send({ type: "ask", text });
    this.drawSend();
  }

  /** Ask once, in the button itself: a second press clears. */
  confirmClear() {
    const isSure = this.clear.classList.toggle("pnb-chat-asks");
    clearTimeout(this.doubt);
    if (!isSure) {
      setIcon(this.clear, "clear");
      this.send({ type: "clear" });
      this.field.area.focus();
      return;
    }
    this.clear.replaceChildren("Clear all?");
    this.doubt = setTimeout(() => {
      this.clear.classList.remove("pnb-chat-asks");
      setIcon(this.clear, "clear");
    }, CONFIRM_MS);
  }

  toggleOptions() {
    this.panel.element.hidden = !this.panel.element.hidden;
    this.settings.setAttribute("aria-expanded", String(!this.panel.element.hidden));
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    event.stopPropagation();
    if (event.key === "Escape" && this.isBusy) {
      event.preventDefault();
      this.send({ type: "stop" });
    }
  }

  /** The kernel that held the conversation is gone: nothing is on its way any more, and what was typed stays. */
  lose() {
    this.onDraft({ text: this.unheard ?? "" });
    this.unheard = null;
    for (const view of this.turns.filter(({ turn }) => turn.state === "streaming")) {
      view.update({ ...view.turn, state: "stopped", text: view.text.innerText });
    }
    this.drawHead({ ...this.head, is_busy: false });
    this.tell(KERNEL_IS_GONE);
  }

  // ---- from the kernel

  /** @param {any} message */
  receive(message) {
    if (message.type === "state") {
      this.heard();
      this.adopt(message.state);
      return;
    }
    if (this.isStale) return;
    if (message.seq !== this.seq + 1) {
      this.isStale = true; // something was said before this view listened; the whole will come
      this.send({ type: "draw" });
      return;
    }
    this.seq = message.seq;
    this.heard();
    this.draws[message.type]?.(message);
    this.follow();
  }

  heard() {
    clearTimeout(this.patience);
    if (this.notice.textContent === KERNEL_IS_BUSY) this.tell("");
  }

  /** Draw the whole; a view that has missed nothing knows the turns already. @param {State} state */
  adopt(state) {
    if (this.isStale || this.seq !== state.seq) this.setTurns(0, state.turns);
    this.seq = state.seq;
    this.isStale = false;
    this.title.textContent = state.name ?? "Chat";
    this.drawHead(state);
    this.follow();
  }

  /** @param {any} message */
  onTurns(message) {
    if (message.turns.some((/** @type {Turn} */ turn) => turn.text === this.unheard)) this.unheard = null;
    this.setTurns(message.keep, message.turns);
    this.drawHead(message);
    this.announcer.begin();
    this.keepState();
  }

  /** @param {any} message */
  onPatch(message) {
    const view = this.turns.find(({ turn }) => turn.id === message.turn);
    if (!view) return;
    view.patch(message);
    this.counters.draw(view.turn.figures, this.card);
    if (message.part === "answer") this.announcer.follow(view.text.textContent ?? "", false);
  }

  /** @param {any} message */
  onTurn(message) {
    const view = this.turns.find(({ turn }) => turn.id === message.turn.id);
    if (!view) return;
    view.update(message.turn);
    this.drawHead(message);
    this.announcer.follow(view.text.textContent ?? "", true);
    if (message.turn.state !== "done") this.announcer.say(view.note.textContent ?? "");
    this.keepState();
  }

  /** @param {any} message */
  onHead(message) {
    this.drawHead(message);
    this.keepState();
  }

  /** @param {{ text: string }} message */
  onNotice({ text }) {
    this.onDraft({ text: this.unheard ?? "" }); // a question that was refused is not lost
    this.unheard = null;
    this.tell(text);
  }

  /** @param {{ text: string }} message */
  onDraft({ text }) {
    if (!this.field.text) this.field.text = text;
    this.drawSend();
  }

  // ---- drawing

  /** @param {number} keep @param {Turn[]} turns */
  setTurns(keep, turns) {
    const root = /** @type {Document | ShadowRoot} */ (this.root.getRootNode());
    const focused = this.turns.findIndex(({ element }) => element.contains(root.activeElement));
    const action = /** @type {HTMLElement | null} */ (root.activeElement)?.dataset?.action;
    turns.forEach((turn, index) => this.setTurn(keep + index, turn));
    for (const { element } of this.turns.splice(keep + turns.length)) element.remove();
    if (focused >= 0 && !this.log.contains(root.activeElement)) {
      if (action) this.turns[focused]?.focus(action);
      if (!this.log.contains(root.activeElement)) this.field.area.focus();
    }
  }

  /** @param {number} index @param {Turn} turn */
  setTurn(index, turn) {
    const shown = this.turns[index];
    if (shown?.turn.id === turn.id && shown.turn.role === turn.role) {
      shown.update(turn);
      shown.showParts(turn);
      return;
    }
    const view = new TurnView(turn, this.send);
    if (shown) shown.element.replaceWith(view.element);
    else this.log.append(view.element);
    this.turns[index] = view;
  }

  /** @param {any} head */
  drawHead(head) {
    this.head = { is_busy: head.is_busy, can_undo: head.can_undo, options: head.options };
    if (head.model !== undefined) this.card = head.model;
    this.isBusy = head.is_busy;
    this.root.dataset.busy = String(this.isBusy);
    this.undo.disabled = !head.can_undo;
    this.clear.disabled = this.transcript.disabled = !this.turns.length;
    this.chip.textContent = this.card?.name ?? "no model loaded";
    this.chip.title = this.chip.textContent;
    for (const view of this.turns) view.setBusy(this.isBusy);
    this.panel.draw(head.options, this.card);
    this.counters.draw(this.turns.map(({ turn }) => turn.figures).filter(Boolean).pop() ?? null, this.card);
    this.drawEmpty();
    this.drawSend();
  }

  drawEmpty() {
    if (this.turns.length) {
      this.empty.remove();
      return;
    }
    const said = this.card ? "Ask the model something." : "No model is loaded. Run pagednb.load() in a cell, then ask.";
    const keys = "Enter sends, Shift+Enter begins a line, Esc stops.";
    this.empty.replaceChildren(h("strong", {}, said), h("span", {}, keys));
    this.log.append(this.empty);
  }

  drawSend() {
    this.go.draw({ isBusy: this.isBusy, isEmpty: !this.field.text.trim() });
  }

  /** @param {string} text */
  tell(text) {
    clearTimeout(this.reading);
    this.notice.textContent = text;
    this.notice.hidden = !text;
    const isToStay = [KERNEL_IS_BUSY, KERNEL_IS_GONE].includes(text);
    if (text && !isToStay) this.reading = setTimeout(() => this.tell(""), READING_MS);
  }

  /** Keep what is shown in the page's model, for a notebook that is saved with its widgets. */
  keepState() {
    const turns = this.turns.map(({ drawn }) => drawn);
    this.model.set("state", { ...this.model.get("state"), ...this.head, seq: this.seq, model: this.card, turns });
  }

  asText() {
    return this.turns.map(({ turn }) => `${turn.role === "user" ? "You" : "Model"}:\n${turn.text}`).join("\n\n");
  }

  // ---- scrolling: the end is followed for as long as the reader is there

  notePin() {
    this.isPinned = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR_END_PX;
    this.latest.classList.toggle("pnb-chat-shown", !this.isPinned);
  }

  follow() {
    if (this.isPinned) this.log.scrollTop = this.log.scrollHeight;
    this.latest.classList.toggle("pnb-chat-shown", !this.isPinned);
  }

  toEnd() {
    this.isPinned = true;
    this.follow();
  }
}

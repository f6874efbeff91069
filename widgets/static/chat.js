// @ts-check
/**
 * The chat of pagednb.chat(): draws what the kernel says of a conversation, and tells it what was pressed.
 *
 * One plain module without imports. widgets/chat.py lists the messages. Text of a model reaches the page as HTML that
 * the kernel has sanitised, or as a text node; nothing here makes HTML of text.
 *
 * For tests and screen readers: turns are <article data-turn data-role data-state>, their parts have data-part, buttons
 * data-action, fields data-option; the composer, the counters and the log have data-role.
 *
 * @typedef {{ blocks: string[], tail: string }} Part
 * @typedef {{
 *   model: string, max_context_tokens: number, num_prompt_tokens: number, num_cached_tokens: number,
 *   num_new_tokens: number, num_thinking_tokens: number, thinking_s: number, first_token_s: number | null,
 *   duration_s: number, tokens_per_s: number | null,
 * }} Figures
 * @typedef {{
 *   id: string, role: "user" | "assistant", state: "done" | "streaming" | "stopped" | "cut" | "failed", text: string,
 *   error: string | null, is_edited: boolean, siblings: string[], figures: Figures | null,
 *   thinking?: Part, answer?: Part,
 * }} Turn
 * @typedef {{
 *   name: string, max_context_tokens: number, can_switch_thinking: boolean, defaults: Record<string, unknown>,
 * }} ModelCard
 * @typedef {{
 *   seq: number, name: string | null, model: ModelCard | null, turns: Turn[], is_busy: boolean, can_undo: boolean,
 *   options: Record<string, any>,
 * }} State
 */

const STOP_GUARD_MS = 400; // a double click on Send is no wish to stop
const PATIENCE_MS = 1500;
const CONFIRM_MS = 4000;
const READING_MS = 8000;
const COPIED_MS = 1200;
const NEAR_END_PX = 32;

const SENTENCE_ENDS = [". ", "! ", "? ", ": ", "\n"];
const KERNEL_IS_BUSY = "The kernel is busy; this goes through as soon as it is free.";
const KERNEL_IS_GONE = "This chat ended with its kernel. Its cell, run again, begins a new one.";
const STATE_NOTES = { stopped: "Stopped", cut: "Ended by the length limit" };

const NUMBER_OPTIONS = [
  { name: "temperature", label: "Temperature", min: 0, step: 0.1, hint: "0 takes the likeliest word always" },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.05, hint: "Only the likeliest words that reach this share" },
  { name: "top_k", label: "Top k", min: 0, step: 1, hint: "Only so many of the likeliest words; 0 for all" },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, hint: "No words below this share of the likeliest one" },
  { name: "max_tokens", label: "Max tokens", min: 1, step: 1, hint: "Where every answer ends at the latest" },
  { name: "seed", label: "Seed", step: 1, hint: "The same seed draws the same answer" },
];

const PLACEHOLDERS = { max_tokens: "no limit", seed: "random" };

const ICONS = {
  send: "M8 13V3M3.5 7.5 8 3l4.5 4.5",
  stop: "M4.5 4.5h7v7h-7z",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  check: "m3 8.5 3.5 3.5L13 4.5",
  edit: "m10.5 3 2.5 2.5L5.5 13H3v-2.5z",
  regenerate: "M13 8a5 5 0 1 1-1.5-3.5L13 6M13 2.5V6H9.5",
  previous: "m10 3.5-4.5 4.5 4.5 4.5",
  next: "m6 3.5 4.5 4.5-4.5 4.5",
  undo: "M5.5 3 2.5 6l3 3M2.5 6H10a3.5 3.5 0 0 1 0 7H6.5",
  clear: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9",
  options:
    "M2 5h6m4 0h2M2 11h2m4 0h6M10 3.3a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4" +
    "M6 9.3a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4",
  latest: "M8 3v10M3.5 8.5 8 13l4.5-4.5",
};

/**
 * Make an element. Properties that are functions listen; `data` and `aria` set attributes; null leaves a child out.
 * @param {string} tag
 * @param {Record<string, any>} properties
 * @param {...(Node | string | null)} children
 * @returns {any}
 */
function h(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (value != null) element[name] = value;
  }
  for (const [name, value] of Object.entries(data)) if (value != null) element.dataset[name] = value;
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** @param {keyof typeof ICONS} name */
function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("pnb-chat-icon");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button that shows an icon and is called by its label.
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {(event: MouseEvent) => void} press
 */
function iconButton(name, label, press) {
  const properties = { type: "button", className: "pnb-chat-button", title: label, onClick: press };
  return h("button", { ...properties, data: { action: name }, aria: { label } }, icon(name));
}

/** @param {HTMLElement} button @param {keyof typeof ICONS} name */
function setIcon(button, name) {
  button.replaceChildren(icon(name));
}

/** @param {string} text @param {HTMLElement} button */
async function copy(text, button) {
  await writeToClipboard(text, button);
  const before = [...button.childNodes];
  setIcon(button, "check");
  button.classList.add("pnb-chat-copied");
  setTimeout(() => {
    button.replaceChildren(...before);
    button.classList.remove("pnb-chat-copied");
  }, COPIED_MS);
}

/** @param {string} text @param {HTMLElement} near */
async function writeToClipboard(text, near) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // pages that are not served securely have no clipboard of their own; the old way needs a selection
    const area = h("textarea", { value: text, className: "pnb-chat-hidden" });
    near.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    near.focus();
  }
}

/** @param {number} count */
function compact(count) {
  return count < 1000 ? String(count) : `${(count / 1000).toFixed(count < 100_000 ? 1 : 0)}k`;
}

/** @param {Figures | null} figures */
function thoughtLabel(figures) {
  if (!figures || !figures.num_thinking_tokens) return "Thoughts";
  return `Thought ${figures.thinking_s.toFixed(1)} s, ${figures.num_thinking_tokens.toLocaleString("en")} tokens`;
}

/** Sanitised blocks in an element, patched as an answer grows. */
class Blocks {
  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    /** @type {string[]} what the blocks were made of; text appended to the last is missing until it is drawn again */
    this.html = [];
  }

  /** @param {number} keep @param {string[]} blocks @param {string} tail */
  patch(keep, blocks, tail) {
    while (this.box.children.length > keep) this.box.lastElementChild?.remove();
    const template = document.createElement("template");
    template.innerHTML = blocks.join("\n");
    for (const pre of template.content.querySelectorAll("pre")) frameCode(pre);
    this.box.append(template.content);
    if (tail) [...(this.box.lastElementChild?.querySelectorAll(".pnb-tail") ?? [])].pop()?.append(tail);
    this.html = [...this.html.slice(0, keep), ...blocks];
  }

  /** Show a part as a whole; where it is shown already it stays, with what is selected in it. @param {Part} part */
  show(part) {
    if (part.tail || part.blocks.join("\n") !== this.html.join("\n")) this.patch(0, part.blocks, part.tail);
  }
}

/** Put a block of code into a frame that names its language and copies it. @param {HTMLElement} pre */
function frameCode(pre) {
  const press = (/** @type {MouseEvent} */ event) =>
    copy(pre.textContent ?? "", /** @type {HTMLElement} */ (event.currentTarget));
  const button = iconButton("copy", "Copy code", press);
  button.dataset.action = "copy-code";
  const head = h("div", { className: "pnb-chat-code-head" }, h("span", {}, pre.dataset.language ?? ""), button);
  const frame = h("div", { className: "pnb-chat-code" });
  pre.replaceWith(frame);
  frame.append(head, pre);
}

/** A field to write in, as high as its text. */
class Field {
  /** @param {Record<string, any>} properties @param {() => void} enter */
  constructor(properties, enter) {
    this.area = h("textarea", { rows: 1, spellcheck: true, ...properties, onInput: () => this.fit() });
    this.area.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      // Enter also ends a word that is put together from several keys (isComposing)
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      enter();
    });
  }

  get text() {
    return this.area.value;
  }

  set text(value) {
    this.area.value = value;
    this.fit();
  }

  fit() {
    this.area.style.height = "auto";
    if (this.area.scrollHeight) this.area.style.height = `${this.area.scrollHeight}px`;
  }
}

/** One turn of the branch. */
class TurnView {
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

/** Reads answers to people who cannot see them, a sentence at a time. */
class Announcer {
  constructor() {
    this.element = h("div", { className: "pnb-chat-hidden", data: { role: "announcer" }, aria: { live: "polite" } });
    this.numSaid = 0;
  }

  begin() {
    this.numSaid = 0;
  }

  /** Say the sentences that have become whole since the last time. @param {string} text @param {boolean} isWhole */
  follow(text, isWhole) {
    const fresh = text.slice(this.numSaid);
    const ends = SENTENCE_ENDS.map((mark) => fresh.lastIndexOf(mark) + 1);
    const end = isWhole ? fresh.length : Math.max(...ends);
    if (end <= 0) return;
    this.numSaid += end;
    this.say(fresh.slice(0, end).trim());
  }

  /** @param {string} text */
  say(text) {
    if (text) this.element.textContent = text;
  }
}

/** Sampling parameters, system prompt and thinking. */
class OptionsPanel {
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

/** The figures of the last answer, and how full the model's context is. */
class Counters {
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

/** One view of the chat. */
class ChatView {
  /** @param {any} model @param {HTMLElement} el */
  constructor(model, el) {
    this.model = model;
    this.send = this.send.bind(this);
    this.seq = -1; // of the last message that was taken in
    this.isStale = false;
    this.isBusy = false;
    this.isPinned = true; // to the end of the log
    this.sentAt = -Infinity;
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
    this.go = iconButton("send", "Send", () => (this.isBusy ? this.stop() : this.ask()));
    this.go.classList.add("pnb-chat-go");
    const box = h("div", { className: "pnb-chat-composer" }, this.field.area, this.go);
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
    this.sentAt = performance.now();
    this.isPinned = true;
    this.send({ type: "ask", text });
    this.drawSend();
  }

  stop() {
    if (performance.now() - this.sentAt > STOP_GUARD_MS) this.send({ type: "stop" });
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
    const [name, label] = this.isBusy ? ["stop", "Stop (Esc)"] : ["send", "Send"];
    if (this.go.dataset.action !== name) {
      setIcon(this.go, /** @type {"stop" | "send"} */ (name));
      this.go.dataset.action = name;
      this.go.title = label;
      this.go.setAttribute("aria-label", label);
    }
    this.go.classList.toggle("pnb-chat-idle", !this.isBusy && !this.field.text.trim());
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

/** @param {{ model: any, el: HTMLElement }} context */
function render({ model, el }) {
  const view = new ChatView(model, el);
  return () => view.remove();
}

export default { render };

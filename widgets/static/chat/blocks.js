// @ts-check
/** HTML that the kernel has sanitised, in blocks. */

import { copy, h, iconButton } from "./elements.js";

/** @typedef {import("./shapes.js").Part} Part */

/** Sanitised blocks in an element, patched as an answer grows. */
export class Blocks {
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

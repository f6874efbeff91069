// @ts-check
/**
 * The chat of pagednb.chat(): draws what the kernel says of a conversation, and tells it what was pressed.
 *
 * Text of a model reaches the page as HTML that the kernel has sanitised, or as a text node; nothing here makes HTML of
 * text. widgets/module.py makes one module of these files.
 *
 * For tests and screen readers: turns are <article data-turn data-role data-state>, their parts have data-part, buttons
 * data-action, fields data-option; the composer, the counters and the log have data-role.
 */

import { ChatView } from "./view.js";

/** @param {{ model: any, el: HTMLElement }} context */
function render({ model, el }) {
  const view = new ChatView(model, el);
  return () => view.remove();
}

export default { render };

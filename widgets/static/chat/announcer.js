// @ts-check
/** What is read to people who cannot see the page. */

import { h } from "./elements.js";

const SENTENCE_ENDS = [". ", "! ", "? ", ": ", "\n"];

/** Reads answers to people who cannot see them, a sentence at a time. */
export class Announcer {
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

// @ts-check
/** The button beside the composer: sends what was typed, or stops the answer that is on its way. */

import { iconButton, setIcon } from "./elements.js";

const STOP_GUARD_MS = 400; // a second click or key on Send is no wish to stop

/** Send is a click; Stop is heard as soon as it is pressed, for the button moves away beneath a growing answer. */
export class GoButton {
  /** @param {() => void} send @param {() => void} stop */
  constructor(send, stop) {
    this.send = send;
    this.stop = stop;
    this.isBusy = false;
    this.wasStop = false; // when it was pressed
    this.sentAt = -Infinity;
    this.element = iconButton("send", "Send", (event) => this.onClick(event));
    this.element.classList.add("pnb-chat-go");
    this.element.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.onPress(event));
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.onKey(event));
  }

  /** @param {{ isBusy: boolean, isEmpty: boolean }} state */
  draw({ isBusy, isEmpty }) {
    this.isBusy = isBusy;
    const [name, label] = isBusy ? ["stop", "Stop (Esc)"] : ["send", "Send"];
    if (this.element.dataset.action !== name) {
      setIcon(this.element, /** @type {"stop" | "send"} */ (name));
      this.element.dataset.action = name;
      this.element.title = label;
      this.element.setAttribute("aria-label", label);
    }
    this.element.classList.toggle("pnb-chat-idle", !isBusy && isEmpty);
  }

  /** @param {PointerEvent} event */
  onPress(event) {
    this.wasStop = this.isBusy;
    if (this.wasStop && event.button === 0) this.stopUnlessJustSent();
  }

  /** Enter clicks again for as long as it is held: it would send, and stop what it sent. @param {KeyboardEvent} event */
  onKey(event) {
    if (event.key === "Enter" && event.repeat) event.preventDefault();
  }

  /** A click ends a press, and means what the button was then; one without a detail is a key's. @param {MouseEvent} event */
  onClick(event) {
    if (event.detail === 0 && this.isBusy) {
      this.stopUnlessJustSent();
    } else if (event.detail === 0 || !this.wasStop) {
      this.sentAt = performance.now();
      this.send();
    }
  }

  stopUnlessJustSent() {
    if (performance.now() - this.sentAt > STOP_GUARD_MS) this.stop();
  }
}

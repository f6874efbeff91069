/** Requests that are under way. */

import { NUM_HUES } from "./cells.js";
import { make, write } from "./page.js";
import { count, times } from "./words.js";

/** The requests that are served first: how much of the prompt is computed, and of the answer generated. */
export class Requests {
  /** @param {(requests: number[]) => void} onPick hears which row is looked at */
  constructor(onPick) {
    this.onPick = onPick;
    this.element = make("div", "requests");
    this.heading = make("div", "label");
    this.rows = make("ul", "rows");
    this.more = make("div", "more");
    this.element.append(this.heading, this.rows, this.more);
  }

  draw(frame) {
    const { requests } = frame;
    const preempted = frame.num_preemptions ? ` · preempted ${times(frame.num_preemptions)}` : "";
    write(
      this.heading,
      `${count(frame.num_running)} running · ${count(frame.num_waiting)} waiting · ${count(frame.num_finished)} finished${preempted}`,
    );
    while (this.rows.children.length > requests.length) this.rows.lastChild.remove();
    while (this.rows.children.length < requests.length) this.rows.append(this.#newRow());
    requests.forEach((request, place) => this.#drawRow(this.rows.children[place], request));
    const numMore = frame.num_running + frame.num_waiting - requests.length;
    write(this.more, numMore > 0 ? `and ${count(numMore)} more` : "");
  }

  /** Mark the rows of requests whose cell is looked at. */
  mark(requests) {
    for (const row of this.rows.children) row.classList.toggle("pnb-monitor-marked", requests.includes(Number(row.dataset.id)));
  }

  #newRow() {
    const row = make("li", "row");
    const bar = make("span", "bar");
    bar.setAttribute("role", "progressbar");
    bar.append(make("span", "prompt"), make("span", "answer"));
    row.append(make("span", "swatch owned"), make("span", "name"), make("span", "state"), bar, make("span", "tokens"));
    row.addEventListener("pointerenter", () => this.onPick([Number(row.dataset.id)]));
    row.addEventListener("pointerleave", () => this.onPick([]));
    return row;
  }

  #drawRow(row, request) {
    const [swatch, name, state, bar, tokens] = row.children;
    const total = request.prompt + request.max_tokens;
    const numPrompt = Math.min(request.computed, request.prompt);
    row.dataset.id = request.id;
    swatch.style.setProperty("--pnb-own", request.blocks ? `var(--pnb-hue-${request.id % NUM_HUES})` : "none");
    row.classList.toggle("pnb-monitor-waits", !request.blocks);
    write(name, `${request.id}${request.watched ? " ◉" : ""}`);
    name.title = request.watched ? "somebody watches its stream" : `priority ${request.priority}`;
    write(state, request.preempted && request.blocks ? `${request.state} ↺${request.preempted}` : request.state);
    state.title = request.preempted ? `preempted ${times(request.preempted)}` : "";
    bar.children[0].style.width = `${(100 * numPrompt) / total}%`;
    bar.children[1].style.width = `${(100 * request.generated) / total}%`;
    bar.style.setProperty("--pnb-prompt-end", `${(100 * request.prompt) / total}%`);
    const said = `${count(numPrompt)} of ${count(request.prompt)} prompt tokens computed, ${count(request.generated)} of ${count(request.max_tokens)} generated`;
    const share = Math.round((100 * (numPrompt + request.generated)) / total);
    for (const [attribute, value] of [["valuenow", share], ["valuetext", said], ["label", `Request ${request.id}`]]) {
      bar.setAttribute(`aria-${attribute}`, value);
    }
    bar.title = request.found ? `${said}; ${count(request.found)} were found in the cache` : said;
    write(tokens, `${count(request.generated)}/${count(request.max_tokens)}`);
  }
}

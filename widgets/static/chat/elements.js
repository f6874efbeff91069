// @ts-check
/** Elements, icons, buttons with icons, and the clipboard. */

const COPIED_MS = 1200;

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
export function h(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
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
export function icon(name) {
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
export function iconButton(name, label, press) {
  const properties = { type: "button", className: "pnb-chat-button", title: label, onClick: press };
  return h("button", { ...properties, data: { action: name }, aria: { label } }, icon(name));
}

/** @param {HTMLElement} button @param {keyof typeof ICONS} name */
export function setIcon(button, name) {
  button.replaceChildren(icon(name));
}

/** @param {string} text @param {HTMLElement} button */
export async function copy(text, button) {
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

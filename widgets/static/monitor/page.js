/** Elements of the page and texts in them. */

export const SVG = "http://www.w3.org/2000/svg";

/** @param {string} tag @param {string} name of its class, without the prefix @param {string} [text] */
export function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name.split(" ").map((each) => `pnb-monitor-${each}`).join(" ");
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Change a text only if it differs: a text that is set again loses its selection. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

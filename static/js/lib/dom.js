// Reading and writing the page's elements; those that change have data-field or data-when.

import { isTerminal, localTime } from "./format.js";

export const byId = (id) => document.getElementById(id);

// Write the text if it differs: a screen reader would repeat an unchanged one.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}

// Write a command, of which each word is an element, so that a line breaks between words only.
export function writeCommand(place, text) {
  if (place.textContent === text) return;
  const words = text.split(" ").map((word) => element("span", word));
  place.replaceChildren(...words.flatMap((word, i) => (i ? [" ", word] : [word])));
}

export const setText = (root, name, text) =>
  write(root.querySelector(`[data-field="${name}"]`), text);

// Show the status of a batch in its badge, or that it is paused. A batch that was deleted while
// nothing came from the server comes with the pause that it had before.
export function setStatus(root, { status, paused }) {
  const shown = paused && !isTerminal(status) ? "paused" : status;
  setText(root, "status", shown).dataset.status = shown;
}

// Return a new element; `dir` is auto for a text of unknown direction.
export function element(name, text, className = "", dir = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  if (dir) made.dir = dir;
  return made;
}

// Show a message in its element; an empty message hides the element.
export function showMessage(element, message) {
  write(element, message);
  element.hidden = !message;
}

// Show or hide the elements with this data-when. A dialog that is hidden without being closed would
// block the whole page.
export function showWhen(root, name, shown) {
  for (const each of root.querySelectorAll(`[data-when="${name}"]`)) {
    each.hidden = !shown;
    if (!shown) each.querySelector("dialog")?.close();
  }
}

// Write the times that the server rendered in the browser's time zone and language.
export function localize(root) {
  for (const time of root.querySelectorAll("time")) time.textContent = localTime(time.dateTime);
}

// Copy the only element of a template.
export const copyOf = (template) => template.content.firstElementChild.cloneNode(true);

// Return a function that draws in the next frame, however often it is called before.
export function oncePerFrame(draw) {
  let due = 0;
  return () => {
    due ||= requestAnimationFrame(() => {
      due = 0;
      draw();
    });
  };
}

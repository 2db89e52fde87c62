// Writing into elements marked with data-field, as text and only where it changes.

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}

export const setText = (root, name, text) =>
  write(root.querySelector(`[data-field="${name}"]`), text);

export function setStatus(root, status) {
  setText(root, "status", status).dataset.status = status;
}

// An error where it belongs; empty takes it away.
export function complain(element, message) {
  write(element, message);
  element.hidden = !message;
}

// Show what is marked with data-when, or hide it.
export function showWhen(root, name, shown) {
  for (const each of root.querySelectorAll(`[data-when="${name}"]`)) each.hidden = !shown;
}

// A copy of a template's only element.
export const copyOf = (template) => template.content.firstElementChild.cloneNode(true);

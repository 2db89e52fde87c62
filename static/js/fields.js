// Writing into elements marked with data-field, as text and only where it changes.

export function setText(root, name, text) {
  const element = root.querySelector(`[data-field="${name}"]`);
  if (element.textContent !== text) element.textContent = text;
  return element;
}

export function setStatus(root, status) {
  setText(root, "status", status).dataset.status = status;
}

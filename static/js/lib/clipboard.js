// Copying texts. Over plain HTTP, browsers have no navigator.clipboard, but the old command.

function copyByCommand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

// Throws an Error if the browser forbids it.
export async function copyText(text) {
  try {
    if (navigator.clipboard) return await navigator.clipboard.writeText(text);
  } catch {
    // The old command may be allowed all the same.
  }
  if (!copyByCommand(text)) throw new Error("The browser doesn't allow that text is copied.");
}

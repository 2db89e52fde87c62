// Copying addresses out of the table of rows: one by its button, or all that are ticked.

import { copyText } from "../lib/clipboard.js";
import { write } from "../lib/dom.js";
import { several } from "../lib/format.js";

// The time for which a button says that it has copied.
const COPIED_MS = 1500;

async function copy(button, text) {
  await copyText(text);
  button.dataset.copied = "";
  setTimeout(() => delete button.dataset.copied, COPIED_MS);
}

export function wireCopying(table) {
  const [body] = table.tBodies;
  const all = table.querySelector("#pick-all");
  const button = table.querySelector("#copy-picked");
  const boxes = () => [...body.querySelectorAll(".pick input")];
  const addressIn = (row) => row.querySelector('[data-field="email"]').textContent;
  const picked = () => boxes().filter((box) => box.checked);

  function show() {
    const number = picked().length;
    all.checked = number > 0 && number === boxes().length;
    all.indeterminate = number > 0 && !all.checked;
    button.hidden = number === 0;
    write(button, `Copy ${several(number, "address", "addresses")}`);
  }

  table.addEventListener("change", ({ target }) => {
    if (target === all) for (const box of boxes()) box.checked = all.checked;
    show();
  });
  table.addEventListener("click", ({ target }) => {
    if (target.matches(".copy")) copy(target, addressIn(target.closest("tr")));
  });
  button.addEventListener("click", async () => {
    await copy(button, picked().map((box) => addressIn(box.closest("tr"))).join("\n"));
    write(button, "Copied");
  });
  // Other rows came, or some went.
  new MutationObserver(show).observe(body, { childList: true });
}

// Copying addresses out of the table of rows: one by its button, or all that are ticked.

import { copyText } from "../lib/clipboard.js";
import { write } from "../lib/dom.js";
import { several } from "../lib/format.js";

// The time for which a button says that it has copied.
const COPIED_MS = 1500;

// Calls onError(message) if copying fails; the message is empty if it doesn't.
export function wireCopying(table, onError) {
  const [body] = table.tBodies;
  const all = table.querySelector("#pick-all");
  const button = table.querySelector("#copy-picked");
  const boxes = () => [...body.querySelectorAll(".pick input")];
  const addressIn = (row) => row.querySelector('[data-field="email"]').textContent;
  const picked = () => boxes().filter((box) => box.checked);

  async function copy(clicked, text) {
    try {
      await copyText(text);
    } catch (problem) {
      onError(problem.message);
      return;
    }
    onError("");
    clicked.dataset.copied = "";
    setTimeout(() => delete clicked.dataset.copied, COPIED_MS);
    if (clicked === button) write(button, "Copied");
  }

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
  button.addEventListener("click", () => {
    copy(button, picked().map((box) => addressIn(box.closest("tr"))).join("\n"));
  });
  // Other rows came, or some went.
  new MutationObserver(show).observe(body, { childList: true });
}

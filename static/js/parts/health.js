// The strip at the top of each page: the state of the parts, and what to do when one is away.

import { setText, showWhen } from "../lib/dom.js";

// From the loss of the connection to the notice. A restart of the server takes less.
const PATIENCE_MS = 4000;

export class Health {
  #section;
  #timer = 0;

  constructor(section) {
    this.#section = section;
  }

  // Takes a report as /api/health answers it.
  show({ notice, texts }) {
    this.#section.dataset.level = notice?.level ?? "ok";
    for (const [name, text] of Object.entries(texts)) setText(this.#section, name, text);
    showWhen(this.#section, "command", texts.command);
  }

  // Once the server has been silent for a while, shows what it rendered for that case.
  connection(state) {
    if (state === "reconnecting") {
      const silent = () => this.show(JSON.parse(this.#section.dataset.silent));
      this.#timer ||= setTimeout(silent, PATIENCE_MS);
    } else {
      clearTimeout(this.#timer);
      this.#timer = 0;
    }
  }
}

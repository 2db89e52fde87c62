// The strip at the top of each page: the state of the servers, and what to do when one is away.

import { setText, showWhen } from "../lib/dom.js";

// The time from the loss of the connection to the notice. A restart of the server takes less.
const PATIENCE_MS = 4000;

export class Health {
  #section;
  #timer = 0;

  constructor(section) {
    this.#section = section;
  }

  // Takes a report of /api/health.
  show({ notice, texts }) {
    this.#section.dataset.level = notice?.level ?? "ok";
    for (const [name, text] of Object.entries(texts)) setText(this.#section, name, text);
    showWhen(this.#section, "command", texts.command);
  }

  // Takes the state of the connection. After PATIENCE_MS, shows the texts for a silent server.
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

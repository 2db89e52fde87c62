// The strip at the top of each page: the state of the servers, and what to do when one is away.

import { showWhen, write } from "../lib/dom.js";

// The time from the loss of the connection to the notice. A restart of the server takes less.
const PATIENCE_MS = 4000;

export class Health {
  #section;
  #timer = 0;

  constructor(section) {
    this.#section = section;
  }

  // Takes a report of /api/health. During an upgrade an app of another version may have sent it, with
  // no texts, or with some that this page has no place for.
  show({ notice, texts = {} }) {
    this.#section.dataset.level = notice?.level ?? "ok";
    for (const element of this.#section.querySelectorAll("[data-field]")) {
      const text = texts[element.dataset.field];
      if (text !== undefined) write(element, text);
    }
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

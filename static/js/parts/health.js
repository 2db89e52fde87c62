// The head of each page: the state of the servers in a word, and what to do when one is away.

import { showWhen, write, writeCommand } from "../lib/dom.js";

// The time from the loss of the connection to the notice. A restart of the server takes less.
const PATIENCE_MS = 4000;

export class Health {
  #head;
  #timer = 0;

  constructor(head) {
    this.#head = head;
  }

  // Takes a report of /api/health. During an upgrade an app of another version may have sent it, with
  // no texts, or with some that this page has no place for.
  show({ notice, texts = {} }) {
    this.#head.dataset.level = notice?.level ?? "ok";
    for (const element of this.#head.querySelectorAll("[data-field]")) {
      const text = texts[element.dataset.field];
      if (text === undefined) continue;
      if (element.localName === "code") writeCommand(element, text);
      else write(element, text);
    }
    showWhen(this.#head, "command", texts.command);
  }

  // Takes the state of the connection. After PATIENCE_MS, shows the texts for a silent server.
  connection(state) {
    if (state === "reconnecting") {
      const silent = () => this.show(JSON.parse(this.#head.dataset.silent));
      this.#timer ||= setTimeout(silent, PATIENCE_MS);
    } else {
      clearTimeout(this.#timer);
      this.#timer = 0;
    }
  }
}

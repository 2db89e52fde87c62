// The strip at the top: how the parts are, and what to do if one is away.

import { setText } from "./fields.js";
import { strip } from "./format.js";

// What is known while nobody answers.
const UNKNOWN = {
  database: "unknown",
  redis: "unknown",
  workersAlive: null,
  workerThreads: null,
  workers: null,
  lastWorkerSeen: null,
  queueDepth: null,
  oldestWaiting: null,
  unfinishedBatches: null,
};
// A restart of the server takes less.
const PATIENCE_MS = 4000;
const SILENCE = {
  level: "error",
  text: "The server can't be reached. Is app.py running? This page tries again by itself.",
  command: null,
};

export class Health {
  #section;
  #losing = 0;

  constructor(section) {
    this.#section = section;
  }

  show(report) {
    this.#section.dataset.level = report.notice?.level ?? "ok";
    for (const [name, text] of Object.entries(strip(report))) setText(this.#section, name, text);
    this.#section.querySelector('[data-when="command"]').hidden = !report.notice?.command;
  }

  // How the connection to the server is.
  connection(state) {
    if (state === "reconnecting") {
      this.#losing ||= setTimeout(() => this.show({ ...UNKNOWN, notice: SILENCE }), PATIENCE_MS);
    } else {
      clearTimeout(this.#losing);
      this.#losing = 0;
    }
  }
}

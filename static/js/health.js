// The strip at the top: how the parts are, and what to do if one is away.

import { getJson } from "./api.js";
import { setText } from "./fields.js";
import { LEVEL, strip } from "./format.js";

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
};

export class Health {
  #section;
  #start;

  constructor(section) {
    this.#section = section;
    this.#start = section.querySelector('[data-when="command"]');
  }

  // True if there is nothing to complain of.
  async refresh() {
    let report;
    try {
      report = await getJson(this.#section.dataset.url);
    } catch (error) {
      report = { ...UNKNOWN, notice: { level: "error", text: error.message, command: null } };
    }
    this.#section.dataset.level = report.notice?.level ?? "ok";
    for (const [name, text] of Object.entries(strip(report))) setText(this.#section, name, text);
    this.#start.hidden = !report.notice?.command;
    return !report.notice;
  }

  // Say what else went wrong, until the next refresh.
  complain(message) {
    this.#section.dataset.level = "error";
    setText(this.#section, "level", LEVEL.error);
    setText(this.#section, "text", message);
  }
}

// The card of one batch: its live progress, which the tab's title and icon show too.

import {
  complain, copyOf, localize, oncePerFrame, setStatus, setText, showWhen, write,
} from "../lib/dom.js";
import { clock, count, isTerminal, localTime, percent, several } from "../lib/format.js";
import { CONNECTION } from "../live/live.js";
import { drawBar } from "./bar.js";
import { Chart } from "./chart.js";
import { isStill, showPace } from "./pace.js";

// The percentage between two icons. There are few, because the browser loads and keeps each.
const ICON_STEP = 5;

export class Progress {
  #card;
  #chart;
  #title = document.title;
  #newest = null;
  #draw = oncePerFrame(() => this.#drawNewest());
  #heard = performance.now(); // the time of the newest snapshot
  #began = null; // the time of the batch's start, as performance.now()
  #ended;
  #connection = "";

  constructor(card) {
    this.#card = card;
    this.#chart = new Chart(card.querySelector("#chart"));
    this.#ended = isTerminal(card.dataset.status);
    localize(card);
    setInterval(() => this.#tick(), 1000);
  }

  get batchId() {
    return Number(this.#card.dataset.batch);
  }

  // Takes a snapshot of this batch. Returns false if a newer one is shown.
  take(snapshot) {
    const { dataset } = this.#card;
    if (snapshot.revision <= Number(dataset.revision)) return false;
    const { status, processed } = snapshot;
    this.#ended = isTerminal(status);
    this.#explain(snapshot, Number(dataset.processed));
    Object.assign(dataset, { revision: snapshot.revision, status, processed });
    this.#heard = performance.now();
    if (status === "pending") this.#began = null;
    if (status === "processing") this.#began ??= performance.now();
    if (status === "processing" && snapshot.rate !== null) this.#chart.add(snapshot.rate);
    this.#newest = snapshot;
    this.#draw();
    this.#markTab(snapshot); // at once: a hidden tab gets no frames
    return true;
  }

  // Takes `elapsedSeconds` of /api/batches/{id}.
  setElapsed(seconds) {
    if (seconds !== null) this.#began = performance.now() - seconds * 1000;
    setText(this.#card, "elapsed", clock(seconds));
  }

  // Takes `history` of /api/batches/{id}.
  setHistory(actions) {
    const list = this.#card.querySelector("#history");
    const template = this.#card.querySelector("#action");
    list.replaceChildren(
      ...actions.map(({ at, text }) => {
        const item = copyOf(template);
        write(item.querySelector("span"), text);
        write(item.querySelector("time"), localTime(at)).dateTime = at;
        return item;
      }),
    );
  }

  // Only a retry makes the count of processed emails smaller.
  #explain({ status, processed }, before) {
    const message = this.#card.querySelector("#message");
    if (processed < before) message.dataset.again = before - processed;
    const again = Number(message.dataset.again);
    const [one, more] = this.#ended ? ["was", "were"] : ["is", "are"];
    if (status === "deleted") complain(message, "This batch has been deleted.");
    else if (again) complain(message, `${several(again, "email")} ${again === 1 ? one : more} processed again.`);
  }

  #drawNewest() {
    const { status, processed, failed, total, verdicts } = this.#newest;
    const card = this.#card;
    const bar = card.querySelector("#bar");
    drawBar(bar.querySelector(".bar"), total, verdicts);
    bar.setAttribute("aria-valuenow", percent(processed, total));
    setStatus(card, status);
    setText(card, "processed", count(processed));
    setText(card, "total", count(total));
    setText(card, "percent", `${percent(processed, total)}%`);
    setText(card, "failed", count(failed));
    showPace(card, this.#newest);
    setText(card, "word", status === "completed" ? "checked" : total === 1 ? "email" : "emails");
    card.querySelector("#waiting").hidden = status !== "pending";
    this.connection(this.#connection);
    this.#offer(status, processed === total, { failed, unknown: verdicts.unknown });
  }

  // Show only the buttons that the status allows.
  #offer(status, whole, counts) {
    showWhen(this.#card, "partial", !whole);
    showWhen(this.#card, "completed", status === "completed");
    showWhen(this.#card, "unfinished", !this.#ended);
    showWhen(this.#card, "ended", this.#ended && status !== "deleted");
    for (const [which, number] of Object.entries(counts)) {
      const shown = this.#card.querySelector(`[data-count="${which}"]`);
      write(shown, count(number)).closest("button").hidden = number === 0;
    }
  }

  #markTab({ status, processed, total }) {
    const done = percent(processed, total);
    document.title = this.#ended ? `${status} · ${this.#title}` : `${done}% · ${this.#title}`;
    const step = done - (done % ICON_STEP);
    const icon = document.querySelector('link[rel="icon"]');
    const address = `${this.#card.dataset.icon}${step}.svg`;
    if (icon.getAttribute("href") !== address) icon.setAttribute("href", address);
  }

  #tick() {
    if (this.#ended || this.#began === null) return;
    setText(this.#card, "elapsed", clock((performance.now() - this.#began) / 1000));
    if (isStill(this.#heard)) showPace(this.#card, { rate: 0 });
  }

  // Takes the number of unfinished batches, the reason why this batch may wait.
  showUnfinished(number) {
    setText(this.#card, "unfinished", number ? `Unfinished batches in all: ${count(number)}.` : "");
  }

  // Takes the text for the state of the connection. After the end of the batch, "live" isn't shown.
  connection(text) {
    this.#connection = text;
    setText(this.#card, "connection", this.#ended && text === CONNECTION.live ? "" : text);
  }
}

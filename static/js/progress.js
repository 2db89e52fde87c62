// The card of one batch: how far it is, live; the tab's title and icon show it too.

import { drawBar } from "./bar.js";
import { Chart } from "./chart.js";
import { complain, copyOf, setStatus, setText, showWhen, write } from "./fields.js";
import { clock, count, done, isTerminal, localTime, percent, several } from "./format.js";
import { oncePerFrame } from "./frames.js";
import { CONNECTION } from "./live.js";
import { isStill, showPace } from "./pace.js";

// The icon's steps, in percent: each is a file that the browser keeps.
const ICON_STEP = 5;

export class Progress {
  #card;
  #chart;
  #title = document.title;
  #newest = null;
  #draw = oncePerFrame(() => this.#drawNewest());
  #heard = performance.now();
  #began = null; // when it was started, by performance.now()
  #ended;
  #connection = "";

  constructor(card) {
    this.#card = card;
    this.#chart = new Chart(card.querySelector("#chart"));
    this.#ended = isTerminal(card.dataset.status);
    for (const time of card.querySelectorAll("time")) time.textContent = localTime(time.dateTime);
    setInterval(() => this.#tick(), 1000);
  }

  get batchId() {
    return Number(this.#card.dataset.batch);
  }

  // Takes news of this batch; false if it is old.
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
    this.#markTab(snapshot); // drawn by the browser also where no frame is
    return true;
  }

  // What /api/batches/{id} says of the time.
  setElapsed(seconds) {
    if (seconds !== null) this.#began = performance.now() - seconds * 1000;
    setText(this.#card, "elapsed", clock(seconds));
  }

  // Who did what to the batch, as /api/batches/{id} says.
  setHistory(actions) {
    const list = this.#card.querySelector("#history");
    const template = this.#card.querySelector("#action");
    list.replaceChildren(
      ...actions.map((action) => {
        const item = copyOf(template);
        write(item.querySelector("span"), done(action));
        write(item.querySelector("time"), localTime(action.at)).dateTime = action.at;
        return item;
      }),
    );
  }

  // Numbers go backwards on a retry, and only then.
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
    drawBar(bar.querySelector(".bar"), total, { ok: processed - failed, failed });
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

  // Only what can be done in this state is offered.
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

  // How many batches are unfinished, which is why one may wait.
  showUnfinished(number) {
    setText(this.#card, "unfinished", number ? `Unfinished batches in all: ${count(number)}.` : "");
  }

  // What is said of the connection; once there is nothing more to come, only what is wrong.
  connection(text) {
    this.#connection = text;
    setText(this.#card, "connection", this.#ended && text === CONNECTION.live ? "" : text);
  }
}

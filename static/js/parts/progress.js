// The card of one batch: what came out so far, and its course, which the tab's title and icon show too.

import { snapshotOf } from "../lib/api.js";
import {
  copyOf, localize, oncePerFrame, setStatus, setText, showMessage, showWhen, write, writeCommand,
} from "../lib/dom.js";
import {
  checkedAgain, clock, count, isTerminal, limit, localTime, paused, percent, proportion, rate, waiting,
} from "../lib/format.js";
import { CONNECTION, isStill } from "../live/live.js";
import { drawBar } from "./bar.js";
import { Chart } from "./chart.js";

// The percentage between two icons. There are few, because the browser loads and keeps each.
const ICON_STEP = 5;

export class Progress {
  #card;
  #chart = null;
  #title = document.title;
  #newest = null;
  #draw = oncePerFrame(() => this.#drawNewest());
  #heard = performance.now(); // the time of the newest snapshot
  #began = null; // the time of the batch's start, as performance.now()
  #ended;
  #connection = "";

  constructor(card) {
    this.#card = card;
    const chart = card.querySelector("#chart");
    if (chart) this.#chart = new Chart(chart);
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
    if (status === "processing" && snapshot.rate !== null) this.#chart?.add(snapshot.rate);
    this.#newest = snapshot;
    this.#draw();
    this.#markTab(snapshot); // at once: a hidden tab gets no frames
    return true;
  }

  // Takes the batch as /api/batches/{id} has it, with what snapshots don't have.
  takeWhole(batch) {
    const { elapsedSeconds, ending, history } = batch;
    if (elapsedSeconds !== null) this.#began = performance.now() - elapsedSeconds * 1000;
    setText(this.#card, "elapsed", clock(elapsedSeconds));
    setText(this.#card, "ending", ending);
    const isNewest = batch.revision >= Number(this.#card.dataset.revision);
    if (isNewest) this.#sayWhy(snapshotOf(batch)); // the server's text has times in UTC
    const template = this.#card.querySelector("#action");
    this.#card.querySelector("#history").replaceChildren(
      ...history.map(({ at, text }) => {
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
    if (status === "deleted") showMessage(message, "This batch has been deleted.");
    else if (again) showMessage(message, checkedAgain(again, this.#ended, this.#card.dataset.verb));
  }

  #drawNewest() {
    const { processed, total, verdicts, reasons } = this.#newest;
    const card = this.#card;
    const bar = card.querySelector("#bar");
    drawBar(bar.querySelector(".bar"), total, verdicts);
    bar.setAttribute("aria-valuenow", percent(processed, total));
    for (const [verdict, number] of Object.entries(verdicts)) {
      const shown = write(card.querySelector(`[data-verdict="${verdict}"]`), count(number));
      shown.closest("li").toggleAttribute("data-none", number === 0);
      const share = `(${proportion(number, processed)})`;
      write(card.querySelector(`[data-share="${verdict}"]`), share);
    }
    setStatus(card, this.#newest);
    setText(card, "processed", count(processed));
    setText(card, "total", count(total));
    setText(card, "percent", `${percent(processed, total)}%`);
    this.#sayWhy(this.#newest);
    this.#showPace(this.#newest);
    this.#showLimit(this.#newest);
    this.connection(this.#connection);
    this.#offer(this.#newest, this.#rechecked(verdicts, reasons));
  }

  // Return the numbers of emails to check again, by verdict: no invalid ones if all of them are
  // malformed, which no check will change; no unknown ones that are interrupted.
  #rechecked({ invalid, unknown }, reasons) {
    const { malformed: codes } = this.#card.querySelector("[data-malformed]").dataset;
    const malformed = codes.split(" ").reduce((sum, code) => sum + (reasons[code] ?? 0), 0);
    return { invalid: invalid > malformed ? invalid : 0, unknown: unknown - (reasons.interrupted ?? 0) };
  }

  // Say what the batch waits for: somebody who resumes it, or answers.
  #sayWhy({ processed, total, paused: pause, waiting: waits, nextAt }) {
    const checked = `${count(processed)} of ${count(total)} ${this.#card.dataset.verb}.`;
    setText(this.#card, "paused", pause ? `${paused(pause)} ${checked}` : "");
    setText(this.#card, "waiting", waiting(waits, nextAt));
  }

  // Show only what the batch's state allows; `counts` has the emails to check again by verdict.
  #offer({ status, paused: pause, waiting: waits }, counts) {
    const going = ["pending", "processing"];
    for (const each of going) showWhen(this.#card, each, status === each && !pause);
    showWhen(this.#card, "paused", Boolean(pause));
    showWhen(this.#card, "waiting", waits > 0);
    showWhen(this.#card, "going", going.includes(status) && !pause);
    showWhen(this.#card, "again", status === "completed" && counts.invalid + counts.unknown > 0);
    showWhen(this.#card, "unfinished", !this.#ended);
    showWhen(this.#card, "ended", this.#ended && status !== "deleted");
    for (const shown of this.#card.querySelectorAll("[data-count]")) {
      const number = counts[shown.dataset.count];
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
    if (isStill(this.#heard)) this.#showPace({ rate: 0 });
  }

  // Takes a snapshot; an unknown value is null or missing.
  #showPace({ rate: perSecond = null, secondsLeft = null }) {
    setText(this.#card, "rate", rate(perSecond));
    const left = setText(this.#card, "left", clock(secondsLeft)).closest(".left");
    left.toggleAttribute("data-unknown", secondsLeft === null);
  }

  // Show the rate that people have set. A default value leaves the number that somebody is typing.
  #showLimit({ perMinute = null }) {
    const text = this.#card.querySelector('[data-field="limit"]');
    write(text, limit(perMinute) || text.dataset.none);
    const menu = text.closest("details");
    menu.toggleAttribute("data-unlimited", perMinute === null);
    menu.querySelector("input").defaultValue = perMinute ?? "";
  }

  // Takes the number of unfinished batches, the reason why this batch may wait.
  showUnfinished(number) {
    setText(this.#card, "unfinished", number ? `· ${count(number)} unfinished` : "");
  }

  // Takes a report of /api/health: says why no worker can process the batch, and which command helps.
  showUnable({ processors = [], workersAlive }) {
    const own = processors.find(({ name }) => name === this.#card.dataset.processor);
    const isSaid = own?.problem && !this.#ended && (processors.length > 1 || workersAlive);
    const place = this.#card.querySelector('[data-field="unable"]');
    write(place.querySelector("span"), isSaid ? own.problem : "");
    writeCommand(place.querySelector("code"), (isSaid && own.command) || "");
    place.hidden = !isSaid;
  }

  // Takes the text for the state of the connection. After the end of the batch, "live" isn't shown.
  connection(text) {
    this.#connection = text;
    setText(this.#card, "connection", this.#ended && text === CONNECTION.live ? "" : text);
  }
}

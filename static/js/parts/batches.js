// The card "Recent batches": a live table, filtered by the form above it.

import { getJson, snapshotOf } from "../lib/api.js";
import { oncePerFrame, showMessage, showWhen } from "../lib/dom.js";
import { localTime } from "../lib/format.js";
import { isStill } from "../live/live.js";
import { fill, idOf, rowOf, showAge, showPace } from "./batch_row.js";
import { Order } from "./order.js";

// The time from a snapshot that may change which batches belong in the list to its next request.
const RELIST_MS = 1000;
// The time from the last key press in the form to the request.
const TYPING_MS = 150;
// The time between two looks at how long ago the batches were uploaded.
const AGES_MS = 30_000;

export class Batches {
  #card;
  #table;
  #body;
  #template;
  #form;
  #more;
  #changed = new Map(); // snapshots to be drawn, by batch id
  #newest = new WeakMap(); // a batch's newest snapshot and its time, by row
  #order;
  #ahead; // how far this clock is ahead of the server's, in milliseconds
  #draw = oncePerFrame(() => this.#drawChanged());
  #relist = 0;
  #asking = 0;
  #listed; // the filter of the batches in the table
  #older = false; // whether older batches were asked for; then scrolling loads more

  constructor(card) {
    this.#card = card;
    this.#table = card.querySelector("table");
    this.#body = this.#table.tBodies[0];
    this.#template = card.querySelector("template");
    this.#form = card.querySelector("form");
    this.#more = card.querySelector("#more");
    this.#order = new Order(this.#table);
    this.#listed = String(this.#filter);
    this.#ahead = Date.now() - Date.parse(card.dataset.now);
    for (const time of card.querySelectorAll("time")) time.title = localTime(time.dateTime);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#applyFilter();
    });
    this.#form.addEventListener("input", () => this.#applyFilter());
    this.#more.addEventListener("click", (event) => {
      event.preventDefault();
      this.#showOlder();
    });
    new IntersectionObserver(([seen]) => {
      if (seen.isIntersecting && !this.#more.hidden && this.#older) this.#showOlder();
    }).observe(this.#more);
    setInterval(() => this.#markStill(), 1000);
    setInterval(() => this.#showAges(this.#body.rows), AGES_MS);
  }

  get #filter() {
    const filter = new URLSearchParams([...new FormData(this.#form)].filter(([, value]) => value));
    const before = new URLSearchParams(location.search).get("before");
    if (before) filter.set("before", before); // a page of older batches
    return filter;
  }

  #applyFilter() {
    history.replaceState(null, "", "/"); // another list begins at its newest batch
    const filter = this.#filter;
    if (filter.size) history.replaceState(null, "", `?${filter}`);
    clearTimeout(this.#relist);
    this.#relist = setTimeout(() => this.refresh().catch(() => {}), TYPING_MS);
  }

  // List the newest batches again. Older ones that were loaded below them stay.
  async refresh() {
    clearTimeout(this.#relist);
    this.#relist = 0;
    const filter = this.#filter;
    const asking = ++this.#asking;
    let answer;
    try {
      answer = await this.#ask(filter);
    } catch (error) {
      this.#complain(error.message);
      throw error;
    }
    if (asking !== this.#asking) return; // a newer request is under way
    this.#complain("");
    this.#list(answer, filter);
  }

  #ask(filter) {
    return getJson(`${this.#card.dataset.url}?${filter}`);
  }

  #complain(message) {
    showMessage(this.#card.querySelector("#batches-error"), message);
  }

  #list({ batches, next }, filter) {
    const listed = String(filter);
    const same = this.#listed === listed;
    this.#listed = listed;
    const last = batches.at(-1)?.id ?? 0;
    const below = same && next ? [...this.#body.rows].filter((row) => idOf(row) < last) : [];
    const rows = this.#inOrder([...batches.map((batch) => this.#rowFor(batch)), ...below]);
    // Replacing rows would lose the keyboard's focus.
    if (rows.length !== this.#body.rows.length || rows.some((row, i) => row !== this.#body.rows[i])) {
      this.#body.replaceChildren(...rows);
    }
    this.#showAges(rows);
    if (below.length === 0) this.#follow(next, filter);
    this.#showEmpty(filter.size > 0);
  }

  // Return the rows, newest first, as they are to be shown: if a person has sorted them, those that
  // are there stay in their places, and the others follow.
  #inOrder(rows) {
    if (this.#order.isDefault) return rows;
    const there = [...this.#body.rows].filter((row) => rows.includes(row));
    return [...new Set([...there, ...rows])];
  }

  #showAges(rows) {
    const now = Date.now() - this.#ahead;
    for (const row of rows) showAge(row, now);
  }

  #showEmpty(filtered) {
    const empty = this.#body.rows.length === 0;
    this.#table.hidden = empty;
    this.#form.hidden &&= empty; // nothing is there to be found
    this.#card.querySelector("#no-batches").hidden = !empty;
    showWhen(this.#card, "filtered", filtered);
    showWhen(this.#card, "unfiltered", !filtered);
  }

  #follow(next, filter) {
    this.#more.hidden = next === null;
    const following = new URLSearchParams(filter);
    following.set("before", next);
    this.#more.href = `?${following}`;
  }

  async #showOlder() {
    const { searchParams } = new URL(this.#more.href);
    this.#more.hidden = true; // so that nobody asks twice
    try {
      const { batches, next } = await this.#ask(searchParams);
      const rows = batches.map((batch) => this.#rowFor(batch));
      this.#body.append(...rows);
      this.#showAges(rows);
      this.#follow(next, searchParams);
      this.#older = true;
    } catch (error) {
      this.#more.hidden = false;
      this.#complain(error.message);
    }
  }

  #row(batchId) {
    return this.#body.querySelector(`tr[data-batch="${batchId}"]`);
  }

  #rowFor(batch) {
    const { page } = this.#card.dataset;
    const row = this.#row(batch.id) ?? rowOf(batch, this.#template, page, this.#title(batch));
    if (batch.revision >= Number(row.dataset.revision)) this.#fill(row, snapshotOf(batch));
    return row;
  }

  // The title of the batch's processor; empty if there is only one.
  #title({ processor }) {
    const select = this.#form.elements.processor;
    if (!select) return "";
    const name = processor ?? select.dataset.default;
    return [...select.options].find(({ value }) => value === name)?.text ?? name;
  }

  #fill(row, snapshot) {
    this.#newest.set(row, { snapshot, at: performance.now() });
    fill(row, snapshot, this.#template);
  }

  // Takes a snapshot of any batch, whether the table has it or not.
  take(snapshot) {
    this.#changed.set(snapshot.batchId, snapshot);
    this.#draw();
  }

  #drawChanged() {
    for (const [batchId, snapshot] of this.#changed) {
      const row = this.#row(batchId);
      if (row && snapshot.status === "deleted") this.#remove(row);
      else if (row && snapshot.revision > Number(row.dataset.revision)) this.#update(row, snapshot);
      else if (!row && snapshot.status !== "deleted" && this.#belongs(batchId)) this.#relistSoon();
    }
    this.#changed.clear();
  }

  #remove(row) {
    row.remove();
    this.#showEmpty(this.#filter.size > 0);
  }

  #update(row, snapshot) {
    const { status } = row.dataset;
    this.#fill(row, snapshot);
    if (status !== snapshot.status && this.#filter.has("status")) this.#relistSoon();
  }

  // Return whether a batch that isn't in the table may belong there.
  #belongs(batchId) {
    return this.#filter.size > 0 || [...this.#body.rows].every((row) => batchId > idOf(row));
  }

  #relistSoon() {
    this.#relist ||= setTimeout(() => this.refresh().catch(() => {}), RELIST_MS);
  }

  #markStill() {
    for (const row of this.#body.querySelectorAll('tr[data-status="processing"]')) {
      const { snapshot, at } = this.#newest.get(row) ?? {};
      if (snapshot && isStill(at)) showPace(row, { ...snapshot, rate: 0, secondsLeft: null });
    }
  }
}

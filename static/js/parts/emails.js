// The table of a batch's rows: filtered by links and by a search, page by page.

import { Cancelled, getJson } from "../lib/api.js";
import { byId, copyOf, setText, showMessage } from "../lib/dom.js";
import { count, shown } from "../lib/format.js";
import { showAnswers } from "./answers.js";
import { wireCopying } from "./copying.js";

const PAGE = 50;
// The most rows that the server sends at once.
const MOST = 500;
// The links that filter the rows.
const LINKS = "a[data-filter][href]";
const OF_EMAILS = ["verdict", "reason", "status", "q"];
// The parameters with the place of a page; several rows without an email may be of one line.
const PLACE = ["after", "afterPart"];

// Return the place in the parameters of a page; null in those of the first.
function placeIn(parameters) {
  const names = PLACE.filter((name) => parameters.has(name));
  return names.length ? Object.fromEntries(names.map((name) => [name, parameters.get(name)])) : null;
}

// Return the place of the page after an answer of the server; null if there is none.
function placeAfter({ next, nextPart }) {
  if (next === null) return null;
  return nextPart === undefined ? { after: next } : { after: next, afterPart: nextPart };
}

// Mark the link if its filter is on.
export function mark(link, filter) {
  const own = new URLSearchParams(link.search);
  const on = own.size > 0 && [...own].every(([name, value]) => filter.get(name) === value);
  if (on) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
}

export class Emails {
  #card;
  #isEnded;
  #body;
  #form;
  #more;
  #filter = new URLSearchParams(location.search);
  #label; // the filter in words, without what is searched
  #next = null; // the parameters of the next page
  #stale = false; // whether the rows are to be loaded again after those that are being loaded
  #abort = new AbortController();

  // Calls isEnded() for whether the batch has ended, so that its other emails stay as they are.
  constructor(card, isEnded) {
    this.#card = card;
    this.#isEnded = isEnded;
    this.#body = card.querySelector("tbody");
    this.#form = card.querySelector("form");
    this.#more = card.querySelector("#more");
    this.#label = card.querySelector('[data-field="shown"]').dataset.label;
    // Each entry of the history has the label of its filter.
    history.replaceState({ label: this.#label }, "");
    if (!this.#more.hidden) this.#next = placeIn(new URL(this.#more.href).searchParams);
    wireCopying(card.querySelector("table"), (message) => this.#complain(message));
    document.addEventListener("click", (event) => this.#click(event));
    this.#form.addEventListener("submit", (event) => this.#search(event));
    this.#more.addEventListener("click", (event) => {
      event.preventDefault();
      this.#load(this.#next, "add");
    });
    addEventListener("popstate", ({ state }) => {
      this.#filter = new URLSearchParams(location.search);
      this.#label = state?.label ?? "";
      this.#open();
    });
    this.#mark();
  }

  // Load the rows again that are shown. A load under way isn't broken off for it: a person asked for
  // those rows, and a long search would never end. Rows without an email never change.
  refresh() {
    this.#stale = this.#card.hasAttribute("aria-busy");
    if (this.#stale || this.#filter.get("kind")) return;
    const number = Math.max(this.#body.rows.length, PAGE);
    this.#load(placeIn(this.#filter), "update", number);
  }

  #click(event) {
    const link = event.target.closest(LINKS);
    // With one of these keys, a click opens a new tab or window.
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    this.#filter = new URL(link.href).searchParams;
    this.#label = link.dataset.label;
    history.pushState({ label: this.#label }, "", link.href);
    this.#open();
    this.#card.scrollIntoView({ block: "start" });
    this.#card.querySelector("h2").focus({ preventScroll: true });
  }

  #search(event) {
    event.preventDefault();
    const searched = new FormData(this.#form).get("q").trim();
    for (const name of PLACE) this.#filter.delete(name);
    if (this.#filter.has("kind")) this.#label = ""; // only emails can be searched
    this.#filter.delete("kind");
    if (searched) this.#filter.set("q", searched);
    else this.#filter.delete("q");
    history.pushState({ label: this.#label }, "", `${this.#card.dataset.path}?${this.#filter}#emails`);
    this.#open();
  }

  #open() {
    const searched = this.#filter.get("q") ?? "";
    this.#form.elements.q.value = searched;
    const containing = searched && !this.#filter.has("kind") ? `containing “${searched}”` : "";
    const only = [this.#label, containing].filter(Boolean).join(" · ");
    setText(this.#card, "shown", only && `Only: ${only}`);
    this.#mark();
    this.#load(placeIn(this.#filter), "replace");
  }

  // The filter in the parameters of the API.
  #parameters() {
    const names = this.#filter.get("kind") ? ["kind"] : OF_EMAILS;
    const given = names.filter((name) => this.#filter.get(name));
    return new URLSearchParams(given.map((name) => [name, this.#filter.get(name)]));
  }

  // Mark the links whose filter is on, and let the downloads of these rows have it.
  #mark() {
    const these = byId("these"); // in the menu of downloads
    const parameters = this.#parameters();
    these.hidden = parameters.size === 0;
    for (const link of these.querySelectorAll("a")) link.search = parameters;
    const again = byId("again-these"); // in the menu of processors
    if (again) {
      again.hidden = parameters.size === 0;
      again.formAction = `${this.#card.dataset.path}/again?${parameters}`;
    }
    this.#card.querySelector("#clear").hidden = this.#filter.size === 0;
    for (const link of document.querySelectorAll(LINKS)) {
      if (link.id !== "clear") mark(link, this.#filter);
    }
  }

  #address(place, limit) {
    const query = this.#parameters();
    query.set("limit", limit);
    for (const [name, value] of Object.entries(place ?? {})) query.set(name, value);
    return `${this.#card.dataset.api}/${query.has("kind") ? "rows" : "emails"}?${query}`;
  }

  // Load a number of rows, which `how` adds to those that are shown, replaces these by, or updates.
  // Where matches are rare, it takes several answers: each has the next place.
  async #load(place, how, number = PAGE) {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const found = [];
    let matching;
    this.#card.setAttribute("aria-busy", "true");
    try {
      do {
        const limit = Math.min(number - found.length, MOST);
        const answer = await getJson(this.#address(place, limit), signal);
        found.push(...(answer.emails ?? answer.rows));
        ({ matching } = answer);
        place = placeAfter(answer);
        const looking = place && found.length < PAGE ? `Looked at ${count(place.after)} emails so far…` : "";
        setText(this.#card, "looked", looking);
      } while (place && found.length < number);
      this.#complain("");
      this.#show(found, place, how);
      setText(this.#card, "of", shown(this.#body.rows.length, matching));
    } catch (problem) {
      if (problem instanceof Cancelled) return;
      this.#complain(problem.message);
      setText(this.#card, "looked", "");
    }
    this.#card.removeAttribute("aria-busy");
    if (this.#stale) this.refresh();
  }

  #complain(message) {
    showMessage(this.#card.querySelector("#emails-error"), message);
  }

  #show(found, next, how) {
    if (how === "replace") this.#body.replaceChildren();
    // The row of an email that is shown already is kept, because it may be ticked.
    const present = new Map([...this.#body.rows].map((row) => [row.dataset.email, row]));
    const template = this.#card.querySelector("template");
    const rows = found.map((each) => this.#fill(present.get(`${each.id}`) ?? copyOf(template), each));
    if (how === "update") this.#update(rows);
    else this.#body.append(...rows);
    this.#next = next;
    this.#more.hidden = next === null;
    const following = new URLSearchParams(this.#filter);
    for (const [name, value] of Object.entries(next ?? {})) following.set(name, value);
    this.#more.href = `${this.#card.dataset.path}?${following}#emails`;
    const empty = this.#body.rows.length === 0;
    this.#card.querySelector("table").hidden = empty;
    this.#card.querySelector("#no-rows").hidden = !empty;
  }

  // Show these rows and no others. Those that stay aren't moved: that would lose the keyboard's focus.
  #update(rows) {
    const staying = new Set(rows);
    for (const row of [...this.#body.rows]) if (!staying.has(row)) row.remove();
    rows.forEach((row, i) => {
      const present = this.#body.rows[i] ?? null;
      if (row !== present) this.#body.insertBefore(row, present);
    });
  }

  #fill(row, each) {
    const status = each.kind ?? each.verdict ?? (this.#isEnded() ? `not ${byId("status").dataset.verb}` : "pending");
    const reason = each.firstLine ? `First on line ${count(each.firstLine)}.` : (each.explanation ?? "");
    if (each.id !== undefined) row.dataset.email = each.id;
    setText(row, "line", count(each.line));
    const content = each.email ?? each.content;
    setText(row, "email", content);
    row.querySelector(".copy").ariaLabel = `Copy ${content}`;
    row.querySelector(".pick input").ariaLabel = `Select ${content}`;
    setText(row, "verdict", status.replace("_", " ")).dataset.status = status;
    setText(row, "reason", reason);
    showAnswers(row.querySelector('[data-field="answers"]'), each.answers);
    setText(row, "suggestion", each.suggestion ? `Did you mean ${each.suggestion}?` : "");
    return row;
  }
}

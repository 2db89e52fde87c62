// The card of the reasons: how many emails have which, and likely typos.

import { getJson } from "../lib/api.js";
import { copyOf, oncePerFrame, setText, showWhen } from "../lib/dom.js";
import { count, interrupted, isTerminal, proportion } from "../lib/format.js";
import { mark } from "./emails.js";

export class Reasons {
  #card;
  #path; // of the page
  #onUnknown;
  #most; // reasons that are shown at once
  #details = new Map(); // verdict and explanation, by reason
  #order; // the reasons as they are shown
  #newest = null;
  #draw = oncePerFrame(() => this.#drawNewest());
  #typos = -1; // the number of typos when they were last asked for

  // Calls onUnknown() when there is a reason whose details takeDetails() has not been told yet.
  constructor(card, path, onUnknown) {
    this.#card = card;
    this.#path = path;
    this.#onUnknown = onUnknown;
    this.#most = Number(card.querySelector("#reasons").dataset.most);
    for (const entry of card.querySelectorAll("li[data-reason]")) {
      const { part } = entry.querySelector(".swatch").dataset;
      const verdict = part === "left" ? null : part;
      const explanation = entry.querySelector('[data-field="explanation"]').textContent;
      this.#details.set(entry.dataset.reason, { verdict, explanation });
    }
    this.#order = [...this.#details.keys()];
  }

  take({ status, reasons, processed }) {
    this.#newest = { status, reasons, processed };
    if (Object.keys(reasons).some((reason) => !this.#details.has(reason))) this.#onUnknown();
    this.#draw();
  }

  // Takes `reasonDetails` of /api/batches/{id}, the most frequent first. In that order they are shown
  // at first and once the batch has ended; else a new one comes last, and nothing moves.
  takeDetails(details, isFinal) {
    for (const each of details) this.#details.set(each.reason, each);
    if (isFinal) this.#order = details.map(({ reason }) => reason);
    this.#draw();
  }

  #drawNewest() {
    if (!this.#newest) return;
    const { status, reasons } = this.#newest;
    const known = this.#order.filter((reason) => reasons[reason]);
    const more = Object.keys(reasons).filter((reason) => this.#details.has(reason));
    this.#order = [...new Set([...known, ...more])];
    this.#fill(this.#card.querySelector("#reasons"), this.#order.slice(0, this.#most));
    const rest = this.#card.querySelector("#more-reasons");
    rest.hidden = this.#order.length <= this.#most;
    this.#fill(rest.querySelector("ul"), this.#order.slice(this.#most));
    setText(rest, "more", count(Math.max(this.#order.length - this.#most, 0)));
    this.#card.querySelector("#no-reasons").hidden = this.#order.length > 0;
    showWhen(this.#card, "none", isTerminal(status));
    showWhen(this.#card, "counted", !isTerminal(status));
    const again = reasons.interrupted ?? 0;
    setText(this.#card, "consequence", interrupted(again));
    showWhen(this.#card, "interrupted", status === "completed" && again > 0);
  }

  // Write these reasons into the list's entries, of which none is replaced: that would move the focus.
  #fill(list, shown) {
    while (list.children.length > shown.length) list.lastElementChild.remove();
    while (list.children.length < shown.length) {
      list.append(copyOf(this.#card.querySelector("#reason")));
    }
    const { reasons, processed } = this.#newest;
    shown.forEach((reason, i) => {
      const entry = list.children[i];
      const { verdict, explanation } = this.#details.get(reason);
      setText(entry, "count", count(reasons[reason]));
      setText(entry, "share", proportion(reasons[reason], processed));
      if (entry.dataset.reason === reason) return;
      entry.dataset.reason = reason;
      entry.querySelector(".swatch").dataset.part = verdict ?? "left";
      const link = setText(entry, "explanation", explanation).closest("a");
      link.dataset.label = explanation;
      // The sum of rare reasons has no verdict, and no link, because no email has it as its reason.
      if (verdict) link.href = `${this.#path}?reason=${reason}#emails`;
      else link.removeAttribute("href");
      mark(link, new URLSearchParams(location.search));
    });
  }

  // Show the likely typos by domain. Only after the end: the server reads all emails for it.
  async showTypos(number) {
    if (number === this.#typos) return;
    this.#typos = number;
    const box = this.#card.querySelector("#typos");
    box.hidden = true;
    if (number === 0) return;
    const { typos } = await getJson(box.dataset.url);
    const template = box.querySelector("template");
    const entries = typos.map(({ domain, count: times, suggestion }) => {
      const entry = copyOf(template);
      const link = entry.querySelector("a");
      const query = new URLSearchParams({ reason: "likely_typo", q: `@${domain}` });
      link.href = `${this.#path}?${query}#emails`;
      link.dataset.label = "likely typos";
      link.textContent = `${domain} × ${count(times)} → ${suggestion}`;
      return entry;
    });
    box.querySelector("ul").replaceChildren(...entries);
    box.hidden = entries.length === 0;
  }
}

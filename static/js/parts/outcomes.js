// The card "What came out": a bar and a legend by verdict and reason, and likely typos.

import { getJson } from "../lib/api.js";
import { copyOf, oncePerFrame, setText, write } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { drawBar } from "./bar.js";

// The explanation of a reason that isn't in the catalogue, as in processors/reasons.py.
function explain(code) {
  const words = code.split("_").filter(Boolean).join(" ");
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;
}

export class Outcomes {
  #card;
  #path; // of the page
  #newest = null;
  #draw = oncePerFrame(() => this.#drawNewest());
  #typos = -1; // the number of typos when they were last asked for

  constructor(card, path) {
    this.#card = card;
    this.#path = path;
  }

  take(snapshot) {
    this.#newest = snapshot;
    this.#draw();
  }

  #drawNewest() {
    const { processed, total, verdicts, reasons } = this.#newest;
    drawBar(this.#card.querySelector(".bar"), processed, verdicts);
    for (const [verdict, number] of Object.entries({ ...verdicts, left: total - processed })) {
      write(this.#card.querySelector(`[data-verdict="${verdict}"]`), count(number));
    }
    const list = this.#card.querySelector("#reasons");
    for (const [code, number] of Object.entries(reasons)) {
      const entry = list.querySelector(`[data-reason="${code}"]`) ?? this.#entry(code);
      // A new reason comes last, so that the reasons above it don't move.
      if (entry.hidden || !entry.isConnected) list.append(entry);
      write(entry.querySelector("b"), count(number));
    }
    for (const entry of list.children) entry.hidden = !reasons[entry.dataset.reason];
  }

  // The server renders an entry for each reason of the catalogue. Other reasons get one here.
  #entry(code) {
    const entry = copyOf(this.#card.querySelector("#reason"));
    entry.dataset.reason = code;
    entry.querySelector("a").dataset.label = explain(code);
    entry.querySelector("a").href = `${this.#path}?reason=${code}#emails`;
    setText(entry, "reason", explain(code));
    return entry;
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

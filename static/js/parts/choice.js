// The choice of a processor with its options and columns. The browser remembers that of the last upload.

import { showMessage } from "../lib/dom.js";
import { lacking } from "../lib/format.js";
import { Ticks } from "./ticks.js";

const KEY = "last-upload";
const ALL = "*";
// The most columns of a list that are known; it may have more.
const MOST = 200;

// Whether a control has another value than the page gave it at first.
function isChanged({ options, value, defaultValue }) {
  if (!options) return value !== defaultValue;
  return ![...options].some(({ selected, defaultSelected }) => selected && defaultSelected);
}

export class Choice {
  #box;
  #processor;
  #field; // for the headers of further columns
  #ticks;
  #columns = null; // of the list: their names, and which one has the addresses

  // `remembers` says whether the choice of the last upload is restored.
  constructor(box, { remembers = false } = {}) {
    this.#box = box;
    this.#processor = box.querySelector("[name=processor]");
    this.#field = box.querySelector("[name=columns]");
    const ticks = box.querySelector(".ticks");
    this.#ticks = new Ticks(ticks, this.#field);
    if (remembers) this.#restore();
    const { columns, column } = ticks.dataset;
    if (columns) this.#columns = { names: JSON.parse(columns), column: Number(column) };
    this.#begin();
    this.askForColumns(!remembers && !columns);
    box.addEventListener("change", ({ target }) => {
      if (target === this.#processor) this.#begin();
    });
  }

  // Whether the processor gets cells: the check takes none.
  get #takesCells() {
    return !["", this.#box.dataset.check].includes(this.#processor.value);
  }

  // The options of the processor, if it has any, or takes columns.
  get #own() {
    return [...this.#box.querySelectorAll("[data-processor]")].find(
      (each) => each.dataset.processor === this.#processor.value,
    );
  }

  disable(disabled) {
    for (const each of this.#controls()) each.disabled = disabled;
    if (disabled) return;
    this.#show();
    this.#offer();
  }

  // Ask for columns by their headers, where there is no list whose columns can be ticked.
  askForColumns(shown) {
    for (const each of this.#box.querySelectorAll(".cells")) each.hidden = !shown;
  }

  // Takes the names of a list's columns, null for one that can't be named, and the number of the one
  // with the addresses.
  showColumns(names, column) {
    this.#columns = { names, column };
    this.#offer();
  }

  // Forget the columns of the last list.
  clearColumns() {
    this.#columns = null;
    this.#ticks.tick([]);
    this.#ticks.offer([]);
    this.#offer();
  }

  // Add the processor, its options and the columns that are wanted to the form that is sent.
  addTo(form) {
    for (const { name, value } of this.#controls()) {
      if (name && (name !== "columns" || (value && this.#takesCells))) form.append(name, value);
    }
    return form;
  }

  // Remember the processor and its options, for the next upload. Whatever is as the page gave it isn't kept,
  // so that it follows a change of the configuration.
  remember() {
    const named = this.#controls().filter(({ name }) => name && name !== "columns");
    const kept = Object.fromEntries(named.filter(isChanged).map(({ name, value }) => [name, value]));
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
    } catch {
      // The browser forbids it, so the next upload begins with the default.
    }
  }

  // The controls that count: not those of other processors.
  #controls() {
    return [...this.#box.querySelectorAll("input, select")].filter(
      (each) => !each.closest("fieldset[hidden]"),
    );
  }

  // Show what there is to choose of the processor that was just chosen, with the columns of the batch that
  // is processed again if it is that one's.
  #begin() {
    const isOwn = this.#box.dataset.own === this.#processor.value;
    const { ticked } = this.#box.querySelector(".ticks").dataset;
    this.#ticks.tick(isOwn ? JSON.parse(ticked) : []);
    this.#field.value = isOwn ? this.#field.defaultValue : "";
    this.#show();
    this.#offer();
  }

  #show() {
    for (const each of this.#box.querySelectorAll("[data-processor]")) {
      each.hidden = each.disabled = each !== this.#own;
    }
    this.#field.disabled = !this.#takesCells;
    for (const each of document.querySelectorAll("[data-of]")) {
      each.hidden = each.dataset.of !== this.#processor.value;
    }
  }

  // Offer the columns that the processor doesn't take in any case, and say which of those it lacks.
  #offer() {
    const { title = "", taken = "[]" } = this.#own?.dataset ?? {};
    const takes = JSON.parse(taken);
    const { names = [], column = 0 } = this.#columns ?? {};
    const further = names.filter((name, i) => name !== null && i + 1 !== column && !takes.includes(name));
    if (this.#columns) this.#ticks.offer(this.#takesCells && !takes.includes(ALL) ? further : []);
    const isWhole = this.#columns && names.length < MOST;
    const without = takes.filter((name) => name !== ALL && !names.includes(name));
    const place = this.#box.querySelector("[data-field=lacking]");
    showMessage(place, isWhole ? lacking(without, title) : "");
  }

  #restore() {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
    } catch {
      // Nothing was kept, or it can't be read.
    }
    for (const each of this.#box.querySelectorAll("[name]:not([type=hidden], [name=columns])")) {
      const value = kept[each.name];
      const isOffered = ({ value: offered, disabled }) => offered === value && !disabled;
      const exists = !each.options || [...each.options].some(isOffered);
      if (typeof value === "string" && exists) each.value = value;
    }
  }
}

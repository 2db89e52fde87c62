// Ticks for the columns of a list whose cells the processor is to get.

import { copyOf, write } from "../lib/dom.js";

const ALL = "*";
// A name in a line of CSV.
const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

export class Ticks {
  #box;
  #choice;
  #columns = [];
  #ticked = new Set();

  constructor(box, choice) {
    this.#box = box;
    this.#choice = choice;
    box.addEventListener("change", ({ target }) => {
      if (target.checked) this.#ticked.add(target.value);
      else this.#ticked.delete(target.value);
      this.draw();
    });
  }

  clear() {
    this.#columns = [];
    this.#ticked.clear();
    this.draw();
  }

  // Takes the columns of a preview without that of the addresses.
  show(columns) {
    this.#columns = columns.map(({ cells }) => cells).filter((name) => name !== null);
    this.draw();
  }

  draw() {
    const shown = this.#columns.length > 0 && this.#choice.takesCells;
    this.#box.hidden = this.#box.disabled = !shown;
    const { taken } = this.#choice;
    const all = taken.includes(ALL);
    const labels = [ALL, ...this.#columns].map((name, i) => {
      const label = this.#box.querySelectorAll("label")[i] ?? this.#added();
      const [input] = label.children;
      input.value = name;
      input.disabled = all || taken.includes(name) || (name !== ALL && this.#ticked.has(ALL));
      input.checked = input.disabled || this.#ticked.has(name);
      write(label.querySelector("span"), name === ALL ? "All" : name);
      return label;
    });
    for (const label of this.#box.querySelectorAll("label")) if (!labels.includes(label)) label.remove();
  }

  // Add the columns that are ticked to the form that is sent.
  addTo(form) {
    const names = this.#columns.filter((name) => this.#ticked.has(name)).map(quoted);
    const columns = this.#ticked.has(ALL) ? ALL : names.join(",");
    if (!this.#box.hidden && columns) form.append("columns", columns);
    return form;
  }

  #added() {
    const label = copyOf(this.#box.querySelector("template"));
    this.#box.append(label);
    return label;
  }
}

// Ticks for the columns of a list whose cells the processor is to get. They fill the field that asks for
// the headers where there is no list.

import { copyOf, write } from "../lib/dom.js";

const ALL = "*";
// A name in a line of CSV.
const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

export class Ticks {
  #box;
  #field;
  #names = [];
  #ticked = new Set();

  constructor(box, field) {
    this.#box = box;
    this.#field = field;
    box.addEventListener("change", ({ target }) => {
      if (target.checked) this.#ticked.add(target.value);
      else this.#ticked.delete(target.value);
      this.#draw();
    });
  }

  // Tick these columns, if they are offered, and no others.
  tick(names) {
    this.#ticked = new Set(names);
  }

  // Offer these columns; none hides the ticks.
  offer(names) {
    this.#names = names;
    this.#draw();
  }

  #draw() {
    this.#box.hidden = this.#box.disabled = this.#names.length === 0;
    const all = this.#ticked.has(ALL);
    const names = [ALL, ...this.#names];
    const labels = names.map((name, i) => {
      const label = this.#box.querySelectorAll("label")[i] ?? this.#added();
      const [input] = label.children;
      input.value = name;
      input.disabled = all && name !== ALL;
      input.checked = all || this.#ticked.has(name);
      write(label.querySelector("span"), name === ALL ? "All" : name);
      return label;
    });
    for (const label of this.#box.querySelectorAll("label")) if (!labels.includes(label)) label.remove();
    const ticked = this.#names.filter((name) => this.#ticked.has(name)).map(quoted);
    this.#field.value = this.#box.hidden ? "" : all ? ALL : ticked.join(",");
  }

  #added() {
    const label = copyOf(this.#box.querySelector("template"));
    this.#box.append(label);
    return label;
  }
}

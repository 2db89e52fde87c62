// The choice of a processor with its options. The browser remembers the last one.

const KEY = "processor";

export class Choice {
  #box;
  #processor;
  #remembers;

  // `remembers` says whether the last choice is restored; onChange() is called after each change.
  constructor(box, { remembers = false, onChange = () => {} } = {}) {
    this.#box = box;
    this.#processor = box.querySelector("[name=processor]");
    this.#remembers = remembers;
    if (remembers) {
      this.#restore();
      this.askForColumns(false);
    }
    this.#show();
    box.addEventListener("change", () => {
      this.#show();
      this.#store();
      onChange();
    });
  }

  // Whether the processor gets cells: the check takes none.
  get takesCells() {
    return this.#processor.value !== this.#box.dataset.check;
  }

  // The names of the columns that the processor gets in any case.
  get taken() {
    return JSON.parse(this.#box.dataset.taken)[this.#processor.value] ?? [];
  }

  disable(disabled) {
    for (const each of this.#controls()) each.disabled = disabled;
  }

  // Ask for columns by their headers, where there is no preview with ticks for them.
  askForColumns(shown) {
    for (const each of this.#box.querySelectorAll(".cells")) each.hidden = !shown;
  }

  // Add the processor, its options and the columns that are asked for to the form that is sent.
  addTo(form) {
    for (const { name, value } of this.#controls()) {
      const isColumns = name === "columns";
      if (!isColumns || (value && this.takesCells && !this.#box.querySelector(".cells").hidden)) {
        form.append(name, value);
      }
    }
    return form;
  }

  // The controls that count: not those of other processors.
  #controls() {
    return [...this.#box.querySelectorAll("input, select")].filter(
      (each) => !each.closest("fieldset[hidden]"),
    );
  }

  #show() {
    for (const each of this.#box.querySelectorAll("fieldset")) {
      each.hidden = each.disabled = each.dataset.processor !== this.#processor.value;
    }
  }

  #store() {
    if (!this.#remembers) return;
    const all = [...this.#box.querySelectorAll("input:not([name=columns]), select")];
    const kept = Object.fromEntries(all.map(({ name, value }) => [name, value]));
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
    } catch {
      // The browser forbids it, so the next upload begins with the default.
    }
  }

  #restore() {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
    } catch {
      // Nothing was kept, or it can't be read.
    }
    for (const each of this.#box.querySelectorAll("input:not([type=hidden]), select")) {
      const value = kept[each.name];
      const exists = !each.options || [...each.options].some((option) => option.value === value);
      if (typeof value === "string" && exists) each.value = value;
    }
  }
}

// The preview of a file or text: how the server reads it, which a person can change; its first rows.

import { Cancelled, postForm } from "../lib/api.js";
import { showWhen, write } from "../lib/dom.js";
import { count } from "../lib/format.js";

// Only so much of a text file is sent. A workbook can only be read as a whole.
const PART_BYTES = 1 << 20;
const FIELDS = ["column", "header", "delimiter", "encoding"];
// The most columns that are shown; the column with the addresses is always among them.
const SHOWN = 12;

const isWorkbook = (file) => /\.xlsx$/i.test(file.name);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

export class Preview {
  #box;
  #url;
  #selects;
  #detect;
  #chosen = {}; // a person's choices, by field; the server detects the rest
  #abort = new AbortController();

  // Calls onChange() after a person changed a guess.
  constructor(box, url, onChange) {
    this.#box = box;
    this.#url = url;
    this.#selects = Object.fromEntries(
      FIELDS.map((name) => [name, box.querySelector(`select[name=${name}]`)]),
    );
    this.#detect = box.querySelector("#detect");
    for (const [name, select] of Object.entries(this.#selects)) {
      select.addEventListener("change", () => {
        // Another delimiter gives other columns.
        if (name === "delimiter") delete this.#chosen.column;
        this.#chosen[name] = select.value;
        onChange();
      });
    }
    this.#detect.addEventListener("click", () => {
      this.#chosen = {};
      onChange();
      this.#selects.column.focus(); // because the button is hidden now
    });
  }

  // Hide the preview and forget the choices for the last file.
  clear() {
    this.#abort.abort();
    this.#chosen = {};
    this.#box.hidden = this.#box.disabled = true;
  }

  // Add a person's choices to a form.
  addTo(form) {
    for (const [name, value] of Object.entries(this.#chosen)) form.append(name, value);
    return form;
  }

  // Show the preview. Throws an Error for a bad file or text, Cancelled after a newer call.
  async show({ file, text }) {
    this.#abort.abort();
    this.#abort = new AbortController();
    const form = this.addTo(new FormData());
    if (file) {
      const part = isWorkbook(file) ? file : file.slice(0, PART_BYTES);
      form.append("file", part, file.name);
      form.append("size", file.size);
    } else {
      form.append("text", text);
    }
    const { signal } = this.#abort;
    const found = await postForm(this.#url, form, signal);
    if (signal.aborted) throw new Cancelled();
    this.#draw(found);
  }

  #draw({ kind, encoding, delimiter, header, column, columns, rows }) {
    showWhen(this.#box, "csv", kind === "csv");
    this.#selects.column.replaceChildren(...columns.map((each) => this.#option(each)));
    this.#selects.column.value = column;
    this.#selects.header.value = header ? "yes" : "no";
    if (kind === "csv") {
      this.#selects.encoding.value = encoding.replace("utf-8-sig", "utf-8");
      this.#selects.delimiter.value = this.#nameOf(delimiter);
    }
    this.#detect.hidden = Object.keys(this.#chosen).length === 0;
    const addresses = columns[column - 1]?.addresses ?? 0;
    const read = kind === "csv" ? `CSV, ${encoding}, ${this.#nameOf(delimiter)}` : "Excel workbook";
    write(
      this.#box.querySelector("#detected"),
      `Read as ${read}. The addresses are in column ${column} (${count(addresses)} in the first rows).`,
    );
    this.#drawRows(columns, column, rows);
    this.#box.hidden = this.#box.disabled = false;
  }

  #option({ index, name, addresses }) {
    const option = element("option", `${index}${name ? `: ${name}` : ""} (${count(addresses)} with @)`);
    option.value = index;
    return option;
  }

  #nameOf(delimiter) {
    const options = [...this.#selects.delimiter.options];
    return options.find((option) => option.dataset.character === delimiter)?.value ?? "";
  }

  #drawRows(columns, column, rows) {
    const first = Math.max(0, Math.min(column - 1 - SHOWN / 2, columns.length - SHOWN));
    const shown = columns.slice(first, first + SHOWN);
    const classOf = (index) => (index === column ? "chosen" : "");
    const heads = shown.map(({ index, name }) => {
      const head = element("th", name ?? `Column ${index}`, classOf(index));
      head.scope = "col";
      if (index === column) head.append(" ", element("span", "addresses", "badge"));
      return head;
    });
    const lines = rows.map((row) => {
      const line = document.createElement("tr");
      line.append(...shown.map(({ index }) => element("td", row[index - 1] ?? "", classOf(index))));
      return line;
    });
    this.#box.querySelector("thead tr").replaceChildren(...heads);
    this.#box.querySelector("tbody").replaceChildren(...lines);
  }
}

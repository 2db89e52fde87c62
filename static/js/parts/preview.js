// The preview of a file or text: its first rows, and how the server reads it, which a person can change.

import { Cancelled, postForm } from "../lib/api.js";
import { element, showMessage, showWhen, write } from "../lib/dom.js";
import { count, several } from "../lib/format.js";

// The bytes of a text that are sent.
const PART_BYTES = 1 << 20;
// The first characters of workbooks and archives, which can only be read as a whole.
const WHOLE = ["PK", "\xd0\xcf", "\x1f\x8b"];
const FIELDS = ["sheet", "column", "header", "split", "delimiter", "encoding"];
// The most columns that are shown; the column with the addresses is always among them.
const SHOWN = 12;

// Return as much of the file as its preview takes. Throws an Error for a folder.
async function partOf(file) {
  let bytes;
  try {
    bytes = await file.slice(0, 2).arrayBuffer();
  } catch {
    throw new Error("The browser can't read that. If it is a folder, choose the files in it.");
  }
  const start = String.fromCharCode(...new Uint8Array(bytes));
  return WHOLE.includes(start) ? file : file.slice(0, PART_BYTES);
}

// Offer the choices, pairs of a value and its text, in a select, and select a value.
function offer(select, choices, selected) {
  select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
  select.value = selected;
}

function textOfColumn({ index, name, addresses }) {
  const number = addresses ? ` (${count(addresses)} in the first rows)` : "";
  return `${index}${name ? `: ${name}` : ""}${number}`;
}

function textOfSheet({ name, hidden, rows, addresses }) {
  const shown = `${name}${hidden ? ", hidden" : ""}`;
  if (rows === null) return shown;
  return `${shown} (${several(rows, "row")}, ${several(addresses, "address", "addresses")})`;
}

// Return whether there is something that a person had better decide.
function isOpenQuestion({ encodings, others, problem, sheets }) {
  const withAddresses = sheets.filter(({ addresses }) => addresses > 0);
  return Boolean(encodings.length > 0 || others || problem || withAddresses.length > 1);
}

export class Preview {
  #box;
  #url;
  #onChange;
  #selects;
  #detect;
  #change; // what encloses the choices
  #line; // the first line, which stands above the box with its problem
  #problem;
  #hasProblem = false;
  #choice; // of the processor; undefined without one
  #chosen = {}; // a person's choices, by field; the server detects the rest
  #abort = new AbortController();

  // Calls onChange() after a person changed a guess.
  constructor({ box, line, problem, choice }, url, onChange) {
    this.#box = box;
    this.#url = url;
    this.#onChange = onChange;
    this.#selects = Object.fromEntries(
      FIELDS.map((name) => [name, box.querySelector(`select[name=${name}]`)]),
    );
    this.#detect = box.querySelector("#detect");
    this.#change = box.querySelector("#change");
    this.#line = line;
    this.#problem = problem;
    this.#choice = choice;
    for (const [name, select] of Object.entries(this.#selects)) {
      select.addEventListener("change", () => this.#choose(name, select.value));
    }
    box.querySelector("#others button").addEventListener("click", (event) => {
      this.#choose("column", event.target.value);
      this.#selects.column.focus(); // because the button may be hidden then
    });
    for (const place of ["tbody", "#encodings ul"]) {
      box.querySelector(place).addEventListener("click", ({ target }) => {
        if (target.value) this.#choose(target.name, target.value);
      });
    }
    this.#detect.addEventListener("click", () => {
      this.#chosen = {};
      onChange();
      this.#selects.column.focus(); // because the button is hidden now
    });
  }

  get isShown() {
    return !this.#box.hidden;
  }

  // Whether what is shown would be refused if it were uploaded. An estimate says only that it may be.
  get hasProblem() {
    return this.#hasProblem;
  }

  get hasChoices() {
    return Object.keys(this.#chosen).length > 0;
  }

  disable(disabled) {
    this.#box.disabled = disabled || this.#box.hidden;
  }

  // Hide the preview and forget the choices for the last file.
  clear() {
    this.#abort.abort();
    this.#chosen = {};
    this.#choice?.clearColumns();
    this.#box.hidden = this.#box.disabled = true;
    write(this.#line, "");
    this.#hasProblem = false;
    showMessage(this.#problem, "");
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
    const { signal } = this.#abort;
    const form = this.addTo(new FormData());
    if (file) {
      form.append("file", await partOf(file), file.name);
      form.append("size", file.size);
    } else {
      form.append("text", text);
    }
    const found = await postForm(this.#url, form, signal);
    if (signal.aborted) throw new Cancelled();
    this.#draw(found);
  }

  // Another sheet or delimiter gives other columns and lines, so the choices of these are forgotten.
  #choose(name, value) {
    if (name === "sheet" || name === "delimiter") {
      delete this.#chosen.column;
      delete this.#chosen.header;
    }
    this.#chosen[name] = value;
    this.#detect.hidden = false; // the way back, even if the file can't be read like this
    this.#onChange();
  }

  #draw(found) {
    const focused = document.activeElement;
    const { kind, sheets, counts, problem, text, why, summary } = found;
    const when = {
      csv: kind === "csv",
      text: found.encoding !== null,
      table: kind !== "list",
      sheets: sheets.length > 1,
      several: counts.furtherAddresses > 0 || "split" in this.#chosen,
    };
    for (const [name, shown] of Object.entries(when)) showWhen(this.#box, name, shown);
    this.#fill(found);
    this.#detect.hidden = !this.hasChoices;
    this.#drawHeadline(found);
    const detected = this.#box.querySelector("#detected");
    detected.hidden = Boolean(problem);
    write(detected, `Read as ${text}${why ? `, ${why}` : ""}. ${summary}`);
    this.#drawOthers(found);
    this.#drawEncodings(found);
    this.#drawRows(found);
    const names = kind === "list" ? [] : found.columns.map(({ cells }) => cells);
    this.#choice?.showColumns(names, found.column);
    if (isOpenQuestion(found)) this.#change.open = true;
    else if (this.#box.hidden) this.#change.open = false;
    this.#box.hidden = this.#box.disabled = false;
    this.#scrollToColumn();
    if (!focused.isConnected) this.#refocus(focused);
  }

  #drawHeadline({ headline, problem, warning }) {
    const column = headline.column === null ? "" : element("strong", headline.column, "", "auto");
    this.#line.replaceChildren(headline.before, column, headline.after);
    this.#line.toggleAttribute("data-bad", Boolean(problem));
    this.#hasProblem = Boolean(problem);
    showMessage(this.#problem, problem ?? warning ?? "");
  }

  // Offer the other column that has addresses, if there is one.
  #drawOthers({ others, columns }) {
    const place = this.#box.querySelector("#others");
    place.hidden = !others;
    if (!others) return;
    const { name } = columns[others.column - 1];
    const button = place.querySelector("button");
    write(place.querySelector("span"), `${others.text}.`);
    write(button, `Take column ${others.column}${name ? `, “${name}”,` : ""} instead`);
    button.value = others.column;
  }

  // Scroll the table to its column of addresses if that is out of sight, as on a narrow screen.
  #scrollToColumn() {
    const scroll = this.#box.querySelector(".scroll");
    const head = scroll.querySelector(".chosen");
    const numbers = scroll.querySelector(".line");
    const isCut = head.offsetLeft + head.offsetWidth > scroll.clientWidth;
    scroll.scrollLeft = isCut ? head.offsetLeft - numbers.offsetWidth : 0;
  }

  // Focus the button that replaces another one, or the select for the same choice.
  #refocus({ name, value }) {
    const button = [...this.#box.querySelectorAll(`button[name="${name}"]`)].find(
      (each) => each.value === value,
    );
    this.#change.open ||= !button; // a select in it is to be reached
    (button ?? this.#selects[name])?.focus({ preventScroll: true });
  }

  // Fill the selects with what there is to choose, and select what the server has found.
  #fill({ sheet, sheets, encoding, delimiter, column, columns, headerLine, above, lines }) {
    const selects = this.#selects;
    offer(selects.column, columns.map((each) => [each.index, textOfColumn(each)]), column);
    const first = [...above.map(({ line }) => line), headerLine, ...lines].filter(Boolean);
    const heads = first.sort((a, b) => a - b).map((line) => [line, `line ${count(line)}`]);
    offer(selects.header, [["no", "none"], ...heads], headerLine ?? "no");
    offer(selects.sheet, sheets.map((each) => [each.name, textOfSheet(each)]), sheet);
    selects.split.value = this.#chosen.split ?? "yes";
    selects.encoding.value = encoding?.replace("utf-8-sig", "utf-8") ?? "";
    const options = [...selects.delimiter.options];
    const known = options.find((option) => option.dataset.character === delimiter);
    selects.delimiter.value = known?.value ?? "";
  }

  // Show how each likely encoding reads the same pieces of the file.
  #drawEncodings({ encoding, encodings }) {
    const box = this.#box.querySelector("#encodings");
    box.hidden = encodings.length === 0;
    const lines = encodings.map((each) => {
      const button = element("button", each.encoding, "quiet");
      button.type = "button";
      button.name = "encoding";
      button.value = each.encoding;
      button.setAttribute("aria-pressed", String(each.encoding === encoding));
      const line = document.createElement("li");
      line.append(button, " ", element("span", each.texts.join(" · "), "", "auto"));
      return line;
    });
    box.querySelector("ul").replaceChildren(...lines);
  }

  #drawRows({ kind, columns, column, headerLine, above, rows, lines, problem }) {
    const first = Math.max(0, Math.min(column - 1 - SHOWN / 2, columns.length - SHOWN));
    const shown = columns.slice(first, first + SHOWN);
    const classOf = (index) => (index === column ? "chosen" : "");
    const heads = shown.map(({ index, name }) => {
      const unnamed = kind === "list" ? "Address" : `Column ${index}`;
      const head = element("th", name ?? unnamed, classOf(index), "auto");
      head.scope = "col";
      const hasAddresses = index === column && kind !== "list" && !problem;
      if (hasAddresses) head.append(" ", element("span", "addresses", "badge"));
      return head;
    });
    const corner = element("th", headerLine ? `Line ${count(headerLine)}` : "Line", "line");
    corner.scope = "col";
    const rowOf = (line, cells, className) => {
      const row = document.createElement("tr");
      row.className = className;
      const head = element("th", "", "line");
      head.scope = "row";
      head.append(this.#numberOf(line, kind));
      const cellOf = ({ index }) => element("td", cells[index - 1] ?? "", classOf(index), "auto");
      row.append(head, ...shown.map(cellOf));
      return row;
    };
    this.#box.querySelector("thead tr").replaceChildren(corner, ...heads);
    this.#box.querySelector("tbody").replaceChildren(
      ...above.map(({ line, cells }) => rowOf(line, cells, "above")),
      ...rows.map((cells, position) => rowOf(lines[position], cells, "")),
    );
  }

  // Return a line's number: a button that makes the line the header, or in a list a mere text.
  #numberOf(line, kind) {
    const number = element(kind === "list" ? "span" : "button", count(line));
    if (kind === "list") return number;
    number.type = "button";
    number.name = "header";
    number.value = line;
    number.title = `Make line ${count(line)} the header`;
    number.setAttribute("aria-label", number.title);
    return number;
  }
}

// The order of a table's rows: a click on a column's head sorts the rows that are there.

// How the cells of a column are compared, by the data-sort of its head; all ascending.
const COMPARE = {
  text: (one, other) => one.textContent.localeCompare(other.textContent, "en", { numeric: true }),
  number: (one, other) => numberIn(one) - numberIn(other),
  age: (one, other) => timeIn(one) - timeIn(other),
};
const numberIn = (cell) => Number(cell.textContent.replaceAll(",", ""));
const timeIn = (cell) => Date.parse(cell.querySelector("time").dateTime);

export class Order {
  #table;
  #heads;
  #byDefault; // the head of the column by which the server sorts, descending

  constructor(table) {
    this.#table = table;
    this.#heads = [...table.tHead.rows[0].cells];
    this.#byDefault = this.#heads.find((head) => head.dataset.sort === "age");
    for (const head of this.#heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => this.#sort(head));
      head.append(button);
    }
    this.#mark(this.#byDefault, "descending");
  }

  // Whether the rows are as the server sorts them.
  get isDefault() {
    return this.#byDefault.ariaSort === "descending";
  }

  #mark(head, direction) {
    for (const each of this.#heads) each.removeAttribute("aria-sort");
    head.ariaSort = direction;
  }

  // Sort by a column: texts from A to Z at first, numbers and times from the largest.
  #sort(head) {
    const { sort } = head.dataset;
    const first = sort === "text" ? "ascending" : "descending";
    const other = sort === "text" ? "descending" : "ascending";
    this.#mark(head, head.ariaSort === first ? other : first);
    const column = head.cellIndex;
    const sign = head.ariaSort === "ascending" ? 1 : -1;
    const [body] = this.#table.tBodies;
    const rows = [...body.rows].sort(
      (one, another) => sign * COMPARE[sort](one.cells[column], another.cells[column]),
    );
    body.replaceChildren(...rows);
  }
}

// The card "Recent Batches".

import { getJson } from "./api.js";
import { setStatus, setText } from "./fields.js";
import { count, localTime } from "./format.js";

export class Batches {
  #table;
  #template;
  #empty;
  #current = 0;

  constructor(table, template, empty, onOpen) {
    this.#table = table;
    this.#template = template;
    this.#empty = empty;
    for (const time of table.querySelectorAll("time")) time.textContent = localTime(time.dateTime);
    table.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      // A click with a modifier means a new tab or window, as on any link.
      if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      onOpen(Number(link.closest("tr").dataset.batch));
    });
  }

  get url() {
    return this.#table.dataset.url;
  }

  markCurrent(batchId) {
    this.#current = batchId;
    for (const row of this.#table.tBodies[0].rows) {
      row.setAttribute("aria-current", String(Number(row.dataset.batch) === batchId));
    }
  }

  async refresh() {
    const { batches } = await getJson(this.url);
    this.#table.hidden = batches.length === 0;
    this.#empty.hidden = batches.length > 0;
    const body = this.#table.tBodies[0];
    const rows = batches.map((batch) => {
      const row =
        body.querySelector(`tr[data-batch="${batch.id}"]`) ??
        this.#template.content.firstElementChild.cloneNode(true);
      this.#fill(row, batch);
      return row;
    });
    // Rows that stay where they are keep the keyboard's focus.
    if (rows.length !== body.rows.length || rows.some((row, i) => row !== body.rows[i])) {
      body.replaceChildren(...rows);
    }
    this.markCurrent(this.#current);
  }

  #fill(row, batch) {
    row.dataset.batch = batch.id;
    setText(row, "filename", batch.filename).href = `/?batch=${batch.id}`;
    setText(row, "created", localTime(batch.createdAt)).dateTime = batch.createdAt;
    setStatus(row, batch.status);
    setText(row, "processed", count(batch.processedCount));
    setText(row, "total", count(batch.totalEmails));
    setText(row, "failed", count(batch.failedCount));
  }

  // Show a snapshot in its row.
  take(snapshot) {
    const row = this.#table.querySelector(`tr[data-batch="${snapshot.batchId}"]`);
    if (!row) return;
    setStatus(row, snapshot.status);
    setText(row, "processed", count(snapshot.processed));
    setText(row, "failed", count(snapshot.failed));
  }
}

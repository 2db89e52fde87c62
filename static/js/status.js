// The card "Processing Status": one batch, live.

import { getJson } from "./api.js";
import { setStatus, setText } from "./fields.js";
import { accounting, count, isTerminal, percent } from "./format.js";
import { watch } from "./stream.js";

const CONNECTION = {
  live: "live",
  reconnecting: "reconnecting…",
  polling: "updates every 2 seconds",
  ended: "",
};

export class Status {
  #card;
  #batchesUrl;
  #onSnapshot;
  #stop = () => {};
  #shown = null;
  #frame = 0;
  #opening = 0;

  constructor(card, batchesUrl, onSnapshot) {
    this.#card = card;
    this.#batchesUrl = batchesUrl;
    this.#onSnapshot = onSnapshot;
    const { batch, status } = card.dataset;
    if (batch && !isTerminal(status)) this.#watch(Number(batch));
  }

  // Show this batch from now on.
  async open(batchId) {
    this.#stop();
    this.#connection("ended");
    const opening = ++this.#opening;
    const batch = await getJson(`${this.#batchesUrl}/${batchId}`);
    if (opening !== this.#opening) return; // another was opened meanwhile
    this.#card.dataset.batch = batchId;
    this.#card.querySelector('[data-when="none"]').hidden = true;
    this.#card.querySelector('[data-when="some"]').hidden = false;
    setText(this.#card, "filename", batch.filename);
    setText(this.#card, "accounting", accounting(batch.rows));
    this.#draw({
      status: batch.status,
      processed: batch.processedCount,
      failed: batch.failedCount,
      total: batch.totalEmails,
    });
    if (!isTerminal(batch.status)) this.#watch(batchId);
  }

  #watch(batchId) {
    this.#stop = watch(`${this.#batchesUrl}/${batchId}`, {
      onSnapshot: (snapshot) => this.#take(snapshot),
      onConnection: (state) => this.#connection(state),
    });
  }

  // Drawn once a frame however fast snapshots come.
  #take(snapshot) {
    this.#shown = snapshot;
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#shown.batchId !== Number(this.#card.dataset.batch)) return;
      this.#draw(this.#shown);
      this.#onSnapshot(this.#shown);
    });
  }

  #connection(state) {
    setText(this.#card, "connection", CONNECTION[state]);
  }

  #draw({ status, processed, failed, total }) {
    const bar = this.#card.querySelector('[data-field="bar"]');
    bar.max = total;
    bar.value = processed;
    bar.dataset.status = status;
    setStatus(this.#card, status);
    setText(this.#card, "processed", count(processed));
    setText(this.#card, "total", count(total));
    setText(this.#card, "percent", percent(processed, total));
    setText(this.#card, "failed", count(failed));
  }
}

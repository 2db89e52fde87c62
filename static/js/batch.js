// Puts the parts of a batch's page together.

import { getJson } from "./api.js";
import { Emails } from "./emails.js";
import { count, isTerminal } from "./format.js";
import { Health } from "./health.js";
import { CONNECTION, listen } from "./live.js";
import { Notify } from "./notify.js";
import { Outcomes } from "./outcomes.js";
import { Progress } from "./progress.js";

// Between two readings of the rows while they are processed.
const ROWS_MS = 2000;

const byId = (id) => document.getElementById(id);
const card = byId("status");
const rows = byId("emails");
const health = new Health(byId("health"));
const progress = new Progress(card);
const outcomes = new Outcomes(byId("outcomes"), rows.dataset.path);
const emails = new Emails(rows);
const notify = new Notify(byId("notify"), isTerminal(card.dataset.status));
let rowsDue = 0;

function rereadRows() {
  rowsDue ||= setTimeout(() => {
    rowsDue = 0;
    emails.refresh();
  }, ROWS_MS);
}

function take(snapshot) {
  if (snapshot.batchId !== progress.batchId || !progress.take(snapshot)) return;
  if (snapshot.status === "deleted") return;
  outcomes.take(snapshot);
  rereadRows();
  if (!isTerminal(snapshot.status)) return;
  refresh().catch(() => {}); // the stream says what is wrong, if it lasts
  const { processed, failed, total, status } = snapshot;
  const body = `${count(processed)} of ${count(total)} emails, ${count(failed)} failed.`;
  notify.tell(`${card.querySelector("h1").textContent}: ${status}`, body);
}

async function refresh() {
  const batch = await getJson(card.dataset.url);
  const { processedCount: processed, failedCount: failed, totalEmails: total } = batch;
  take({ ...batch, batchId: batch.id, processed, failed, total });
  progress.setElapsed(batch.elapsedSeconds);
  progress.setHistory(batch.history);
  if (isTerminal(batch.status)) await outcomes.showTypos(batch.reasons.likely_typo ?? 0);
}

// A message is for once, not for each reload.
if (new URLSearchParams(location.search).has("retried")) {
  history.replaceState(null, "", location.pathname);
}
listen(byId("health").dataset, {
  health(report) {
    health.show(report);
    progress.showUnfinished(report.unfinishedBatches);
  },
  snapshot: take,
  refresh,
  state(state) {
    progress.connection(CONNECTION[state]);
    health.connection(state);
  },
});

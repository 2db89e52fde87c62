// Puts the parts of a batch's page together.

import { getJson, snapshotOf } from "./lib/api.js";
import { wireDialogs } from "./lib/dialogs.js";
import { byId } from "./lib/dom.js";
import { count, isTerminal } from "./lib/format.js";
import { wireMenus } from "./lib/menus.js";
import { CONNECTION, listen } from "./live/live.js";
import { Choice } from "./parts/choice.js";
import { Emails } from "./parts/emails.js";
import { Health } from "./parts/health.js";
import { Notify } from "./parts/notify.js";
import { Progress } from "./parts/progress.js";
import { Reasons } from "./parts/reasons.js";

// The time between two requests for the rows while they are processed.
const ROWS_MS = 2000;
// The time from the first email with a new reason to the request for what the reason means.
const DETAILS_MS = 300;

// The message about a retry is not shown again on a reload.
if (new URLSearchParams(location.search).has("retried")) {
  history.replaceState(null, "", location.pathname);
}

wireMenus();
wireDialogs();
const card = byId("status");
const rows = byId("emails");
const health = new Health(byId("health"));
const progress = new Progress(card);
const reasons = new Reasons(byId("outcomes"), rows.dataset.path, refreshSoon);
const emails = new Emails(rows, () => isTerminal(card.dataset.status));
const notify = new Notify(byId("notify"), progress.batchId, isTerminal(card.dataset.status));
if (byId("choice")) new Choice(byId("choice"));
let rowsDue = 0;
let refreshDue = 0;
let known = null; // the batch as the server has last told it

function rereadRows() {
  clearTimeout(rowsDue);
  rowsDue = 0;
  emails.refresh();
}

function take(snapshot) {
  if (snapshot.batchId !== progress.batchId || !progress.take(snapshot)) return;
  reasons.take(snapshot);
  if (snapshot.status === "deleted") return;
  if (!isTerminal(snapshot.status)) {
    rowsDue ||= setTimeout(rereadRows, ROWS_MS);
    return;
  }
  rereadRows(); // at once, so that no row is pending on the page of a batch that has ended
  refresh().catch(() => {}); // a lasting failure shows in the state of the connection
  const found = Object.entries(snapshot.verdicts).filter(([, number]) => number);
  const body = found.map(([verdict, number]) => `${count(number)} ${verdict}`).join(" · ");
  notify.tell(`${card.querySelector("h1").textContent}: ${snapshot.status}`, body);
}

// Tell that the batch was deleted while nothing came from the server.
function takeDeletion() {
  if (known) take({ ...snapshotOf(known), status: "deleted", revision: Infinity });
  else location.reload();
}

async function refresh() {
  if (card.dataset.status === "deleted") return;
  try {
    known = await getJson(card.dataset.url);
  } catch (error) {
    if (error.code !== "batch_not_found") throw error;
    takeDeletion();
    return;
  }
  take(snapshotOf(known));
  progress.takeWhole(known);
  reasons.takeDetails(known.reasonDetails, isTerminal(known.status));
  if (isTerminal(known.status)) await reasons.showTypos(known.reasons.likely_typo ?? 0);
}

function refreshSoon() {
  refreshDue ||= setTimeout(() => {
    refreshDue = 0;
    refresh().catch(() => {}); // a lasting failure shows in the state of the connection
  }, DETAILS_MS);
}

listen(byId("health").dataset, {
  health(report) {
    health.show(report);
    progress.showUnfinished(report.unfinishedBatches);
    progress.showUnable(report);
  },
  snapshot: take,
  refresh,
  state(state) {
    progress.connection(CONNECTION[state]);
    health.connection(state);
  },
});

// Puts the page's parts together.

import { Batches } from "./batches.js";
import { isTerminal } from "./format.js";
import { Health } from "./health.js";
import { Status } from "./status.js";
import { wireUpload } from "./upload.js";

const REFRESH_MS = 5000;

const byId = (id) => document.getElementById(id);
const health = new Health(byId("health"));

const batches = new Batches(byId("batches"), byId("batch-row"), byId("no-batches"), (batchId) => {
  history.pushState(null, "", `/?batch=${batchId}`);
  open(batchId);
});
const status = new Status(byId("status"), batches.url, (snapshot) => {
  batches.take(snapshot);
  if (isTerminal(snapshot.status)) refresh();
});

async function open(batchId) {
  batches.markCurrent(batchId);
  try {
    await status.open(batchId);
  } catch (error) {
    health.complain(error.message);
  }
}

async function refresh() {
  const [well, listed] = await Promise.allSettled([health.refresh(), batches.refresh()]);
  // With a server away, the strip says so already, and better than the list could.
  if (well.value && listed.reason) health.complain(listed.reason.message);
}

wireUpload(byId("upload"), async ({ batchId }) => {
  history.pushState(null, "", `/?batch=${batchId}`);
  await Promise.all([open(batchId), refresh()]);
});
byId("refresh").addEventListener("click", refresh);
addEventListener("popstate", () => location.reload());
setInterval(() => {
  if (!document.hidden) refresh();
}, REFRESH_MS);
batches.markCurrent(Number(byId("status").dataset.batch));

// Puts the page's parts together.

import { getJson } from "./api.js";
import { Batches } from "./batches.js";
import { isTerminal } from "./format.js";
import { Status } from "./status.js";
import { wireUpload } from "./upload.js";

const REFRESH_MS = 5000;

const byId = (id) => document.getElementById(id);
const notice = byId("notice");

function showNotice(text) {
  if (notice.textContent !== (text ?? "")) notice.textContent = text ?? "";
  notice.hidden = !text;
}

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
    showNotice(error.message);
  }
}

async function refresh() {
  try {
    const [health] = await Promise.all([getJson(notice.dataset.url), batches.refresh()]);
    showNotice(health.notice);
  } catch (error) {
    showNotice(error.message);
  }
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

// One batch's progress: its event stream, or now and then a question while there is none.

import { getJson } from "./api.js";
import { isTerminal } from "./format.js";

const POLL_MS = 2000;
const RECONNECT_MS = 10000;

const snapshotOf = (batch) => ({
  batchId: batch.id,
  revision: batch.revision,
  status: batch.status,
  processed: batch.processedCount,
  failed: batch.failedCount,
  total: batch.totalEmails,
});

// Calls onSnapshot(snapshot) for each newer one until the batch has ended, and
// onConnection("live" | "reconnecting" | "polling" | "ended"). Returns a function that stops it.
export function watch(url, { onSnapshot, onConnection }) {
  let source = null;
  let poller = 0;
  let reconnect = 0;
  let revision = 0;
  let stopped = false;

  function stop() {
    stopped = true;
    source?.close();
    clearInterval(poller);
    clearTimeout(reconnect);
  }

  function take(snapshot) {
    if (stopped || snapshot.revision <= revision) return;
    revision = snapshot.revision;
    onSnapshot(snapshot);
    if (isTerminal(snapshot.status)) {
      stop();
      onConnection("ended");
    }
  }

  async function poll() {
    try {
      take(snapshotOf(await getJson(url)));
    } catch {
      if (!stopped) onConnection("reconnecting");
    }
  }

  function connect() {
    source = new EventSource(`${url}/stream`);
    source.addEventListener("open", () => {
      clearInterval(poller);
      onConnection("live");
    });
    source.addEventListener("message", (event) => take(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) {
        onConnection("reconnecting"); // the browser tries again by itself
        return;
      }
      // Refused, for example because all stream slots are in use.
      onConnection("polling");
      clearInterval(poller);
      poller = setInterval(poll, POLL_MS);
      reconnect = setTimeout(connect, RECONNECT_MS);
      poll();
    });
  }

  connect();
  return stop;
}

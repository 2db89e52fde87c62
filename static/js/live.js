// News of all batches for this page, by the event stream that all tabs share; while there is none,
// by asking now and then.

import { getJson } from "./api.js";
import { Source } from "./source.js";

const POLL_MS = 2000;

// What is said of the connection.
export const CONNECTION = {
  live: "live",
  reconnecting: "reconnecting…",
  polling: "updates every 2 seconds",
};

function throughWorker(script, url, on) {
  const worker = new SharedWorker(script, { type: "module" });
  const { port } = worker;
  port.addEventListener("message", ({ data }) => {
    for (const [kind, value] of Object.entries(data)) on[kind](value);
  });
  port.start();
  port.postMessage({ url });
  return { worker, close: () => port.postMessage({ leave: true }) };
}

// Without shared workers each tab has a stream of its own, and only while it is looked at: the
// browser's six connections are for the tabs that somebody sees.
function alone(url, on) {
  let source = null;
  function look() {
    if (document.hidden) source?.close();
    source = document.hidden ? null : new Source(url, on);
  }
  document.addEventListener("visibilitychange", look);
  look();
  return {
    close() {
      document.removeEventListener("visibilitychange", look);
      source?.close();
    },
  };
}

function open(script, url, on) {
  if (!("SharedWorker" in window)) return alone(url, on);
  let line = throughWorker(script, url, on);
  line.worker.addEventListener("error", () => {
    line = alone(url, on); // a browser whose shared workers know no modules
  });
  return { close: () => line.close() };
}

// on.state(state), on.snapshot(snapshot), on.health(report), and on.refresh(): ask the server for
// all that is shown, because something may have been missed.
export function listen({ stream, shared, url: healthUrl }, on) {
  let poller = 0;
  let line = null;

  async function poll() {
    if (document.hidden) return;
    try {
      on.health(await getJson(healthUrl));
      await on.refresh();
      on.state("polling");
    } catch {
      on.state("reconnecting");
    }
  }

  function state(next) {
    clearInterval(poller);
    poller = 0;
    on.state(next);
    if (next === "live") on.refresh().catch(() => {}); // the stream says what is wrong, if it lasts
    if (next === "polling") {
      poller = setInterval(poll, POLL_MS);
      poll();
    }
  }

  function start() {
    line = open(shared, stream, { ...on, state });
  }

  start();
  addEventListener("pagehide", () => {
    clearInterval(poller);
    line.close();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) start(); // back from the browser's cache of pages
  });
}

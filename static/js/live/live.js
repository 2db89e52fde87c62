// Snapshots of all batches and health reports for this page: from the event stream that all tabs
// share; by polling while the server refuses the stream.

import { getJson } from "../lib/api.js";
import { Source } from "./source.js";

const POLL_MS = 2000;

// The text for each state of the connection.
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

// Without shared workers each visible tab has a stream of its own. Hidden tabs have none, because a
// browser opens only six connections to one host.
function alone(url, on) {
  let source = null;
  function update() {
    source?.close();
    source = document.hidden ? null : new Source(url, on);
  }
  document.addEventListener("visibilitychange", update);
  update();
  return {
    close() {
      document.removeEventListener("visibilitychange", update);
      source?.close();
    },
  };
}

function open(script, url, on) {
  if (!("SharedWorker" in window)) return alone(url, on);
  let line = throughWorker(script, url, on);
  line.worker.addEventListener("error", () => {
    line = alone(url, on); // the browser has shared workers, but not for modules
  });
  return { close: () => line.close() };
}

// Calls on.state(state), on.snapshot(snapshot) and on.health(report) for each that arrives, and
// on.refresh() after a gap, to ask the server for everything on the page.
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
    if (next === "live") on.refresh().catch(() => {}); // a lasting failure shows as a state
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
    if (event.persisted) start(); // restored from the back/forward cache
  });
}

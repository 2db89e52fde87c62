// Snapshots of all batches and health reports for this page: from the event stream that all tabs
// share; by polling while the server refuses the stream.

import { getJson } from "../lib/api.js";
import { Source } from "./source.js";

const POLL_MS = 2000;
// The shared worker sends something every 2 s. After this many ticks without, it is gone.
const SILENT_TICKS = 6;
const TICK_MS = 1000;

// A processing batch without a snapshot for this long stands still.
const STILL_MS = 6000;

// Takes the time of a batch's newest snapshot, as performance.now().
export const isStill = (heard) => performance.now() - heard >= STILL_MS;

// The text for each state of the connection.
export const CONNECTION = {
  live: "live",
  reconnecting: "reconnecting…",
  polling: "updates every 2 seconds",
};

// The stream of the worker that all tabs share. Calls onGone() if the worker can't be started (a
// browser may have shared workers, but not for modules), and if nothing comes from it any more: no
// browser tells a page that a shared worker has ended. Calls onBack() if something comes after that,
// as from a worker that the browser had only frozen.
function throughWorker(script, url, on, onGone, onBack) {
  const worker = new SharedWorker(script, { type: "module", name: url });
  const { port } = worker;
  let silent = 0;
  let isGone = false;
  function giveUp() {
    if (isGone) return;
    isGone = true;
    onGone();
  }
  // Counts ticks, not time: a tab that was frozen, or whose computer slept, had none meanwhile. A
  // hidden tab doesn't count, because the browser may hold back its timers and the worker's.
  const watchdog = setInterval(() => {
    silent = document.hidden ? 0 : silent + 1;
    if (silent >= SILENT_TICKS) giveUp();
  }, TICK_MS);
  worker.onerror = giveUp;
  port.addEventListener("message", ({ data }) => {
    silent = 0;
    if (isGone) onBack();
    else for (const [kind, value] of Object.entries(data)) on[kind](value);
  });
  port.start();
  return {
    close() {
      clearInterval(watchdog);
      worker.onerror = null;
      port.postMessage({ leave: true });
      port.close();
    },
  };
}

// Without a shared worker, each visible tab has a stream of its own. Hidden tabs have none, because
// a browser opens only six connections to one host.
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
  let shared = null;
  let own = null;
  function close() {
    shared?.close();
    own?.close();
    own = null;
  }
  function goAlone() {
    on.state("reconnecting");
    own = alone(url, on);
  }
  // Connects anew even after a pause of the worker, because it tells its state to new ports only.
  function share() {
    close();
    shared = throughWorker(script, url, on, goAlone, share);
  }
  share();
  return { close };
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

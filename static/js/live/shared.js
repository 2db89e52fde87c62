// A shared worker that holds one event stream for all open tabs.

import { Source } from "./source.js";

const ports = new Set();
let source = null;
let state = "";

function tell(message) {
  for (const port of ports) port.postMessage(message);
}

function open(url) {
  state = "";
  source = new Source(url, {
    state: (next) => tell({ state: (state = next) }),
    snapshot: (snapshot) => tell({ snapshot }),
    health: (health) => tell({ health }),
  });
}

function leave(port) {
  ports.delete(port);
  if (ports.size > 0) return;
  source?.close();
  source = null;
}

addEventListener("connect", ({ ports: [port] }) => {
  port.addEventListener("message", ({ data }) => {
    if (data.leave) return leave(port);
    ports.add(port);
    if (!source) open(data.url);
    else if (state) port.postMessage({ state });
  });
  port.start();
});

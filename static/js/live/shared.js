// A shared worker that holds one event stream for all open tabs. Its name is the stream's address,
// rather than a message of a page: when WebKit closes the tab in whose process the worker runs, it
// starts the worker anew, connects it to the other tabs, and tells those nothing.

import { Source } from "./source.js";

// The time between two signs of life to the pages, which are sent even if the server is silent.
const SIGN_MS = 2000;

const ports = new Set();
let source = null;
let state = "";

function tell(message) {
  for (const port of ports) port.postMessage(message);
}

function open() {
  state = "";
  source = new Source(self.name, {
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
  port.addEventListener("message", () => leave(port)); // the only message of a page
  port.start();
  ports.add(port);
  if (!source) open();
  else if (state) port.postMessage({ state });
});
setInterval(() => tell({}), SIGN_MS);

// The event stream of all batches. Uses no DOM, so that a shared worker can hold one stream for all
// tabs: a browser opens only six connections to one host, and more tabs than that must stay live.

// The time until the next try when the server has refused, for example because all streams are in
// use.
const RETRY_MS = 10000;
// The server sends an event every 2 s. After this long without one, the connection is replaced: a
// browser notices neither a dead connection nor a server that accepts one and never answers.
const SILENT_MS = 10000;

export class Source {
  #url;
  #on;
  #events = null;
  #retry = 0;
  #watchdog = 0;

  // Calls on.state("live" | "reconnecting" | "polling"), on.snapshot(snapshot), on.health(report).
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    this.#connect();
  }

  close() {
    this.#events?.close();
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
  }

  #connect() {
    this.close();
    const events = new EventSource(this.#url);
    this.#events = events;
    this.#watch();
    const hear = (type, tell) =>
      events.addEventListener(type, ({ data }) => {
        this.#watch();
        tell(data);
      });
    hear("open", () => this.#on.state("live"));
    hear("message", (data) => this.#on.snapshot(JSON.parse(data)));
    hear("health", (data) => this.#on.health(JSON.parse(data)));
    events.addEventListener("error", () => {
      if (events.readyState !== EventSource.CLOSED) {
        this.#watch();
        this.#on.state("reconnecting"); // the browser reconnects by itself
        return;
      }
      clearTimeout(this.#watchdog);
      this.#on.state("polling");
      this.#retry = setTimeout(() => this.#connect(), RETRY_MS);
    });
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#on.state("reconnecting");
      this.#connect();
    }, SILENT_MS);
  }
}

// The event stream of all batches. It needs no page, so that a shared worker can hold it for all
// tabs: a browser opens six connections to one host, and seven tabs must stay live.

const RETRY_MS = 10000; // after the server refused, for example because all streams are in use
const SILENT_MS = 10000; // the server says something every 2 s; after this the line is dead, which
// a browser doesn't notice by itself, nor that nobody answers when it tries again

export class Source {
  #url;
  #on;
  #events = null;
  #retry = 0;
  #watchdog = 0;

  // on.state("live" | "reconnecting" | "polling"), on.snapshot(snapshot), on.health(report)
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
    events.addEventListener("open", () => {
      this.#watch();
      this.#on.state("live");
    });
    events.addEventListener("message", (event) => {
      this.#watch();
      this.#on.snapshot(JSON.parse(event.data));
    });
    events.addEventListener("health", (event) => {
      this.#watch();
      this.#on.health(JSON.parse(event.data));
    });
    events.addEventListener("error", () => {
      if (events.readyState !== EventSource.CLOSED) {
        this.#watch();
        this.#on.state("reconnecting"); // the browser tries again by itself
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

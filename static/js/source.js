// The event stream of all batches. It needs no page, so that a shared worker can hold it for all
// tabs: a browser opens six connections to one host, and seven tabs must stay live.

const RETRY_MS = 10000; // after the server refused, for example because all streams are in use
const SILENT_MS = 10000; // the server says something every 2 s; after this the line is dead

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
    events.addEventListener("open", () => {
      this.#heard();
      this.#on.state("live");
    });
    events.addEventListener("message", (event) => {
      this.#heard();
      this.#on.snapshot(JSON.parse(event.data));
    });
    events.addEventListener("health", (event) => {
      this.#heard();
      this.#on.health(JSON.parse(event.data));
    });
    events.addEventListener("error", () => {
      clearTimeout(this.#watchdog);
      if (events.readyState !== EventSource.CLOSED) {
        this.#on.state("reconnecting"); // the browser tries again by itself
        return;
      }
      this.#on.state("polling");
      this.#retry = setTimeout(() => this.#connect(), RETRY_MS);
    });
  }

  #heard() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#on.state("reconnecting");
      this.#connect();
    }, SILENT_MS);
  }
}

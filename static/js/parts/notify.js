// The button for a notification at the end of the batch. The wish outlives a reload of the tab.

// Return whether a page may make notifications: over HTTPS and on localhost only, and on a phone not
// without a service worker. One that isn't allowed yet is never shown.
function isPossible() {
  if (!("Notification" in window) || !window.isSecureContext) return false;
  if (Notification.permission === "granted") return true;
  try {
    new Notification("");
    return true;
  } catch {
    return false;
  }
}

export class Notify {
  #button;
  #key; // of the wish, in the tab's storage

  constructor(button, batchId, isEnded) {
    this.#button = button;
    this.#key = `notify-${batchId}`;
    const possible = isPossible();
    button.toggleAttribute("data-off", !possible);
    button.hidden = isEnded;
    button.addEventListener("click", () => this.#ask());
    if (possible && this.#isWanted && Notification.permission === "granted") this.#say(true);
  }

  get #isWanted() {
    return sessionStorage.getItem(this.#key) !== null;
  }

  async #ask() {
    const granted = (await Notification.requestPermission()) === "granted";
    if (granted) sessionStorage.setItem(this.#key, "");
    this.#say(granted);
  }

  #say(granted) {
    this.#button.textContent = granted
      ? "Will notify"
      : "This browser doesn’t allow notifications";
    this.#button.disabled = true;
  }

  tell(title, body) {
    this.#button.hidden = true;
    if (!this.#isWanted) return;
    sessionStorage.removeItem(this.#key);
    new Notification(title, { body }).addEventListener("click", () => window.focus());
  }
}

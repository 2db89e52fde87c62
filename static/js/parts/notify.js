// The button for a notification at the end of the batch.

export class Notify {
  #button;
  #wanted = false;

  constructor(button, isEnded) {
    this.#button = button;
    // Browsers offer notifications over HTTPS and on localhost only.
    const possible = "Notification" in window && window.isSecureContext;
    button.toggleAttribute("data-off", !possible);
    button.hidden = isEnded;
    button.addEventListener("click", () => this.#ask());
  }

  async #ask() {
    this.#wanted = (await Notification.requestPermission()) === "granted";
    this.#button.textContent = this.#wanted
      ? "You will be notified"
      : "This browser doesn’t allow notifications";
    this.#button.disabled = true;
  }

  tell(title, body) {
    this.#button.hidden = true;
    if (!this.#wanted) return;
    this.#wanted = false;
    new Notification(title, { body }).addEventListener("click", () => window.focus());
  }
}

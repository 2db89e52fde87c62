// The options of an upload: when its batch begins, and how fast it goes at most.

// The value of the choice to begin at a time, which only scripts offer: a form can't send the time's
// zone.
const AT = "at";

export class Beginning {
  #box;
  #rate;
  #choice;
  #time;

  constructor(box) {
    this.#box = box;
    this.#rate = box.querySelector("[name=per_minute]");
    this.#choice = box.querySelector("select");
    this.#time = box.querySelector("[type=datetime-local]");
    this.#choice.append(new Option(this.#choice.dataset.at, AT));
    this.#choice.addEventListener("change", () => this.#offerTime());
    // A browser says what is wrong with a field only where it can be seen.
    box.addEventListener("invalid", () => (box.open = true), true);
  }

  get #isAt() {
    return this.#choice.value === AT;
  }

  #offerTime() {
    this.#time.closest("label").hidden = !this.#isAt;
    this.#time.disabled = !this.#isAt;
  }

  show(shown) {
    this.#box.hidden = !shown;
  }

  // Add what was chosen to the form that is sent.
  addTo(form) {
    form.append("per_minute", this.#rate.value);
    if (this.#isAt) form.append("start_at", new Date(this.#time.value).toISOString());
    else form.append("paused", this.#choice.value);
    return form;
  }
}

// The card "Upload a list": choose, drop or paste a list; see its preview; send it. Several files are
// sent one after another.

import { Cancelled } from "../lib/api.js";
import { element, showMessage, write } from "../lib/dom.js";
import { several, size } from "../lib/format.js";
import { Beginning } from "./beginning.js";
import { Choice } from "./choice.js";
import { DropZone } from "./drop.js";
import { Preview } from "./preview.js";
import { Sending } from "./sending.js";

// The time from the last key press in the text to its preview.
const TYPING_MS = 400;

// Show a file's name, which may be written from right to left, and its size.
function showFile(place, { name, size: bytes }) {
  place.replaceChildren(element("bdi", name), ` (${size(bytes).replace(" ", "\u00a0")})`);
  return place;
}

export class Upload {
  #form;
  #preview;
  #beginning;
  #choice = null;
  #sending;
  #onStored;
  #elements;
  #prompt; // the label while no file is chosen
  #label; // the text of the button
  #files = [];
  #busy = false;
  #typing = 0;

  // Calls onStored() after several files were sent.
  constructor(form, zone, onStored) {
    const byId = (id) => form.querySelector(`#${id}`);
    this.#form = form;
    this.#onStored = onStored;
    const places = {
      box: byId("preview"), line: byId("headline"), problem: byId("preview-problem"),
    };
    const choice = byId("choice");
    if (choice) {
      this.#choice = new Choice(choice, { remembers: true });
      places.choice = this.#choice;
    }
    this.#preview = new Preview(places, form.dataset.preview, () => this.#look());
    this.#beginning = new Beginning(byId("beginning"));
    this.#sending = new Sending(form, byId("upload-progress"), byId("upload-state"));
    this.#elements = {
      input: byId("file"),
      chosen: byId("chosen"),
      list: byId("files"),
      text: byId("text"),
      error: byId("upload-error"),
      actions: byId("upload-actions"),
      submit: form.querySelector("[type=submit]"),
      state: byId("upload-state"),
      cancel: byId("cancel-upload"),
    };
    const { input, chosen, text, cancel, submit } = this.#elements;
    this.#prompt = chosen.textContent;
    this.#label = submit.textContent;
    input.multiple = true; // without scripts, the form takes one file
    form.addEventListener("submit", (event) => this.#submit(event));
    input.addEventListener("change", () => this.#choose([...input.files]));
    text.addEventListener("input", () => this.#paste());
    cancel.addEventListener("click", () => this.#sending.cancel());
    byId("sample")?.addEventListener("click", (event) => this.#trySample(event));
    new DropZone(zone, () => this.#busy, (files) => {
      input.value = "";
      this.#choose(files);
    });
    // A browser keeps the file or the text over a reload.
    this.#choose([...input.files]);
    if (text.value.trim()) this.#look();
  }

  // Show as much of the row with the button as there is use for.
  #act(state, { ready = false } = {}) {
    const { actions, submit } = this.#elements;
    write(this.#elements.state, state);
    submit.hidden = !ready;
    this.#beginning.show(ready && !this.#busy);
    submit.disabled = this.#preview.hasProblem;
    actions.hidden = !ready && !state;
    this.#form.dataset.live = ""; // until then, the row is hidden by the style
  }

  async #look() {
    const { text, error } = this.#elements;
    showMessage(error, "");
    this.#act("Reading the file…", { ready: this.#preview.isShown });
    try {
      await this.#preview.show({ file: this.#files[0], text: text.value });
      this.#act("", { ready: true });
    } catch (problem) {
      if (problem instanceof Cancelled) return;
      // It is of another file or text, unless a choice was made, which must have a way back.
      if (!this.#preview.hasChoices) this.#preview.clear();
      this.#act("", { ready: this.#preview.isShown });
      showMessage(error, problem.message);
    }
  }

  #choose(files) {
    const { chosen, list, text, error, submit } = this.#elements;
    this.#preview.clear();
    this.#files = files;
    const many = files.length > 1;
    const names = many ? files : [];
    list.hidden = !many;
    this.#choice?.askForColumns(many);
    list.replaceChildren(...names.map((file) => showFile(document.createElement("li"), file)));
    write(submit, many ? `${this.#label} ${several(files.length, "file")}` : this.#label);
    showMessage(error, "");
    this.#act("", { ready: many });
    if (files.length === 0) {
      write(chosen, this.#prompt);
      return;
    }
    text.value = "";
    if (many) {
      write(chosen, `${several(files.length, "file")}: each becomes a batch of its own`);
      return;
    }
    showFile(chosen, files[0]);
    const tooLarge = this.#sending.tooLarge(files[0]);
    if (tooLarge) {
      this.#files = [];
      showMessage(error, tooLarge);
    } else {
      this.#look();
    }
  }

  // The preview of the text before stays until there is one of this text.
  #paste() {
    const { input, text } = this.#elements;
    clearTimeout(this.#typing);
    if (this.#files.length > 0 || !text.value.trim()) this.#choose([]);
    input.value = "";
    if (text.value.trim()) this.#typing = setTimeout(() => this.#look(), TYPING_MS);
  }

  async #trySample(event) {
    const link = event.currentTarget;
    event.preventDefault();
    try {
      const answer = await fetch(link.href);
      if (!answer.ok) throw new Error(answer.statusText);
      this.#choose([new File([await answer.blob()], link.download)]);
    } catch {
      location.assign(link.href); // the browser says what is wrong
    }
  }

  #setBusy(busy) {
    const { input, text, submit, cancel } = this.#elements;
    this.#busy = busy;
    cancel.hidden = !busy;
    this.#preview.disable(busy);
    this.#choice?.disable(busy);
    this.#beginning.show(!busy && !submit.hidden);
    input.disabled = text.disabled = busy;
    submit.disabled = busy || this.#preview.hasProblem;
  }

  async #submit(event) {
    event.preventDefault();
    const { text, error } = this.#elements;
    if (this.#files.length === 0 && !text.value.trim()) {
      showMessage(error, "Choose a file, or paste addresses, first.");
      return;
    }
    showMessage(error, "");
    this.#setBusy(true);
    await (this.#files.length > 1 ? this.#sendAll() : this.#sendOne());
    this.#setBusy(false);
  }

  // Return a form with what was chosen for any list.
  #settings() {
    const form = this.#beginning.addTo(new FormData());
    return this.#choice?.addTo(form) ?? form;
  }

  async #sendOne() {
    const { text, error } = this.#elements;
    const body = this.#preview.addTo(this.#settings());
    if (this.#files.length > 0) body.append("file", this.#files[0]);
    else body.append("text", text.value);
    try {
      const { batchId } = await this.#sending.send(body);
      this.#choice?.remember();
      location.assign(`${this.#form.dataset.batches}${batchId}`);
      this.#act("Stored.", { ready: true });
    } catch (problem) {
      const cancelled = problem instanceof Cancelled;
      this.#act(cancelled ? problem.message : "", { ready: true });
      if (!cancelled) showMessage(error, problem.message);
    }
  }

  async #sendAll() {
    const { input, error } = this.#elements;
    const { stored, failures, left, message } = await this.#sending.sendAll(
      this.#files, () => this.#settings(),
    );
    if (stored > 0) this.#choice?.remember();
    input.value = "";
    this.#choose(left);
    const files = several(stored, "file");
    this.#act(message || `${files} uploaded. The batches are in the list below.`, {
      ready: left.length > 1,
    });
    showMessage(error, failures.join("\n"));
    this.#onStored();
  }
}

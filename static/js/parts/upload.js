// The card "Upload a list": choose, drop or paste a list; see its preview; send it.

import { Cancelled, upload } from "../lib/api.js";
import { complain, write } from "../lib/dom.js";
import { clock, size } from "../lib/format.js";
import { Preview } from "./preview.js";

// The time from the last key press in the text to its preview.
const TYPING_MS = 400;
const SEVERAL = "Each file becomes a batch of its own. Drop them one by one, and upload each.";

// Show a zone over the whole page while a file is dragged over it.
function wireDrop(zone, isBusy, onFiles) {
  const hasFile = (event) => event.dataTransfer?.types.includes("Files") && !isBusy();
  addEventListener("dragenter", (event) => {
    if (hasFile(event)) zone.hidden = false;
  });
  addEventListener("dragover", (event) => {
    if (hasFile(event)) event.preventDefault(); // or the browser opens the file itself
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.hidden = true; // the pointer left the window
  });
  addEventListener("drop", (event) => {
    zone.hidden = true;
    if (!hasFile(event)) return;
    event.preventDefault();
    onFiles(event.dataTransfer.files);
  });
}

export class Upload {
  #form;
  #preview;
  #elements;
  #prompt; // the label while no file is chosen
  #file = null;
  #busy = false;
  #typing = 0;

  constructor(form, zone) {
    const byId = (id) => form.querySelector(`#${id}`);
    this.#form = form;
    this.#preview = new Preview(byId("preview"), form.dataset.preview, () => this.#look());
    this.#elements = {
      input: byId("file"),
      chosen: byId("chosen"),
      text: byId("text"),
      error: byId("upload-error"),
      bar: byId("upload-progress"),
      state: byId("upload-state"),
      cancel: byId("cancel-upload"),
    };
    const { input, chosen, text } = this.#elements;
    this.#prompt = chosen.textContent;
    form.addEventListener("submit", (event) => this.#submit(event));
    input.addEventListener("change", () => this.#choose(input.files[0]));
    text.addEventListener("input", () => this.#paste());
    wireDrop(zone, () => this.#busy, (dropped) => {
      input.value = "";
      this.#choose(dropped.length === 1 ? dropped[0] : null);
      if (dropped.length > 1) complain(this.#elements.error, SEVERAL);
    });
    // A browser keeps the file or the text over a reload.
    if (input.files[0]) this.#choose(input.files[0]);
    else if (text.value.trim()) this.#look();
  }

  async #look() {
    const { text, error } = this.#elements;
    complain(error, "");
    try {
      await this.#preview.show({ file: this.#file, text: text.value });
    } catch (problem) {
      if (!(problem instanceof Cancelled)) complain(error, problem.message);
    }
  }

  #choose(file) {
    const { chosen, text, error, state } = this.#elements;
    this.#preview.clear();
    this.#file = file ?? null;
    write(chosen, file ? `${file.name} (${size(file.size).replace(" ", "\u00a0")})` : this.#prompt);
    write(state, "");
    complain(error, "");
    if (!file) return;
    text.value = "";
    const { maxMegabytes } = this.#form.dataset;
    if (file.size > maxMegabytes * 1e6) {
      complain(error, `The file is larger than ${maxMegabytes} MB. Split it into smaller ones.`);
      this.#file = null;
    } else {
      this.#look();
    }
  }

  #paste() {
    const { input, text } = this.#elements;
    clearTimeout(this.#typing);
    this.#choose(null);
    input.value = "";
    if (text.value.trim()) this.#typing = setTimeout(() => this.#look(), TYPING_MS);
  }

  #setBusy(busy) {
    const { bar, cancel } = this.#elements;
    this.#busy = busy;
    bar.hidden = cancel.hidden = !busy;
    const fields = this.#form.querySelectorAll("input, select, textarea, #detect, [type=submit]");
    for (const each of fields) each.disabled = busy;
    if (busy) bar.value = 0;
  }

  // Return a function that shows how far the upload is, how fast, and the time that is left.
  #progress() {
    const { bar, state } = this.#elements;
    const began = performance.now();
    return (sent, total) => {
      bar.value = total ? sent / total : 0;
      if (sent >= total) {
        write(state, "Sent; the rows are being stored…");
        bar.removeAttribute("value"); // the time that this takes is unknown
        return;
      }
      const perSecond = sent / Math.max((performance.now() - began) / 1000, 0.001);
      const left = clock(Math.ceil((total - sent) / perSecond));
      write(state, `${size(sent)} of ${size(total)}, ${size(perSecond)}/s, ${left} left`);
    };
  }

  #submit(event) {
    const { text, error } = this.#elements;
    event.preventDefault();
    if (this.#file || text.value.trim()) this.#send();
    else if (error.hidden) complain(error, "Choose a file, or paste addresses, first.");
  }

  async #send() {
    const { text, error, state, cancel } = this.#elements;
    const body = this.#preview.addTo(new FormData());
    if (this.#file) body.append("file", this.#file);
    else body.append("text", text.value);
    const abort = new AbortController();
    cancel.onclick = () => abort.abort();
    this.#setBusy(true);
    complain(error, "");
    try {
      const options = { onProgress: this.#progress(), signal: abort.signal };
      const { batchId } = await upload(this.#form.dataset.api, body, options);
      location.assign(`${this.#form.dataset.batches}${batchId}`);
      write(state, "Stored.");
    } catch (problem) {
      const cancelled = problem instanceof Cancelled;
      write(state, cancelled ? problem.message : "");
      if (!cancelled) complain(error, problem.message);
    } finally {
      this.#setBusy(false);
    }
  }
}

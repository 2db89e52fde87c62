// Sends files to the server, and shows how far they are.

import { Cancelled, upload } from "../lib/api.js";
import { write } from "../lib/dom.js";
import { clock, size } from "../lib/format.js";

export class Sending {
  #url;
  #mostMegabytes;
  #bar;
  #state;
  #abort = new AbortController();

  constructor(form, bar, state) {
    this.#url = form.dataset.api;
    this.#mostMegabytes = Number(form.dataset.maxMegabytes);
    this.#bar = bar;
    this.#state = state;
  }

  cancel() {
    this.#abort.abort();
  }

  // Return why the file is refused before it is sent; empty if it isn't.
  tooLarge({ size: bytes }) {
    if (bytes <= this.#mostMegabytes * 1e6) return "";
    return `The file is larger than ${this.#mostMegabytes} MB. Split it into smaller ones.`;
  }

  // Send a form, and return the server's answer. Throws an Error, which is Cancelled after cancel().
  // `which` begins the text of the progress.
  async send(body, which = "") {
    this.#abort = new AbortController();
    this.#bar.value = 0;
    this.#bar.hidden = false;
    try {
      const options = { onProgress: this.#progress(which), signal: this.#abort.signal };
      return await upload(this.#url, body, options);
    } finally {
      this.#bar.hidden = true;
    }
  }

  // Send files one after another, a refused one no less, each in a form that makeForm() returns.
  // Return how many were stored, what is wrong with others, and if it was cancelled, the files that
  // are left and a message.
  async sendAll(files, makeForm) {
    const failures = [];
    let stored = 0;
    for (const [index, file] of files.entries()) {
      try {
        const tooLarge = this.tooLarge(file);
        if (tooLarge) throw new Error(tooLarge);
        const body = makeForm();
        body.append("file", file);
        await this.send(body, `${index + 1} of ${files.length} · `);
        stored += 1;
      } catch (problem) {
        const { message } = problem;
        if (problem instanceof Cancelled) return { stored, failures, left: files.slice(index), message };
        failures.push(`\u2068${file.name}\u2069: ${message}`); // a name may turn what follows it around
      }
    }
    return { stored, failures, left: [], message: "" };
  }

  // Return a function that shows how far the upload is, how fast, and the time that is left.
  #progress(which) {
    const began = performance.now();
    write(this.#state, `${which}Sending…`);
    return (sent, total) => {
      this.#bar.value = total ? sent / total : 0;
      if (sent >= total) {
        write(this.#state, `${which}Sent; the rows are being stored…`);
        this.#bar.removeAttribute("value"); // the time that this takes is unknown
        return;
      }
      const perSecond = sent / Math.max((performance.now() - began) / 1000, 0.001);
      const left = clock(Math.ceil((total - sent) / perSecond));
      write(this.#state, `${which}${size(sent)} of ${size(total)}, ${size(perSecond)}/s, ${left} left`);
    };
  }
}

// The card "Upload a list": choose, drop or paste; look at the preview; send it.

import { Cancelled, upload } from "./api.js";
import { complain, write } from "./fields.js";
import { clock, size } from "./format.js";
import { Preview } from "./preview.js";

const TYPING_MS = 400;

// Show a zone over the whole page while a file is dragged over it.
function wireDrop(zone, isBusy, onFile) {
  const hasFile = (event) => event.dataTransfer?.types.includes("Files") && !isBusy();
  addEventListener("dragenter", (event) => {
    if (hasFile(event)) zone.hidden = false;
  });
  addEventListener("dragover", (event) => {
    if (hasFile(event)) event.preventDefault(); // or the browser opens the file itself
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.hidden = true; // it left the window
  });
  addEventListener("drop", (event) => {
    zone.hidden = true;
    if (!hasFile(event)) return;
    event.preventDefault();
    onFile(event.dataTransfer.files[0]);
  });
}

export function wireUpload(form, zone) {
  const byId = (id) => form.querySelector(`#${id}`);
  const [input, chosen, text, error] = ["file", "chosen", "text", "upload-error"].map(byId);
  const [bar, state, cancel] = ["upload-progress", "upload-state", "cancel-upload"].map(byId);
  const submit = form.querySelector("button[type=submit]");
  const prompt = chosen.textContent;
  const maxMegabytes = Number(form.dataset.maxMegabytes);
  const preview = new Preview(byId("preview"), form.dataset.preview, look);
  let file = null;
  let busy = false;
  let typing = 0;

  async function look() {
    complain(error, "");
    try {
      await preview.show({ file, text: text.value });
    } catch (problem) {
      if (!(problem instanceof Cancelled)) complain(error, problem.message);
    }
  }

  function choose(newFile) {
    preview.clear();
    file = newFile ?? null;
    write(chosen, file ? `${file.name} (${size(file.size)})` : prompt);
    write(state, "");
    complain(error, "");
    if (!file) return;
    text.value = "";
    if (file.size > maxMegabytes * 1e6) {
      complain(error, `The file is larger than ${maxMegabytes} MB. Split it into smaller ones.`);
      file = null;
    } else {
      look();
    }
  }

  function paste() {
    clearTimeout(typing);
    choose(null);
    input.value = "";
    if (text.value.trim()) typing = setTimeout(look, TYPING_MS);
  }

  function setBusy(isBusy) {
    busy = isBusy;
    bar.hidden = cancel.hidden = !isBusy;
    for (const each of form.querySelectorAll("input, select, textarea, #detect")) {
      each.disabled = isBusy;
    }
    submit.disabled = isBusy;
    if (isBusy) bar.value = 0;
  }

  // Says how far the upload is, how fast, and how long it still takes.
  function progress() {
    const began = performance.now();
    return (sent, total) => {
      bar.value = total ? sent / total : 0;
      if (sent >= total) {
        write(state, "Sent; the rows are being stored…");
        bar.removeAttribute("value"); // it lasts, and nobody knows how long
        return;
      }
      const perSecond = sent / Math.max((performance.now() - began) / 1000, 0.001);
      const left = clock(Math.ceil((total - sent) / perSecond));
      write(state, `${size(sent)} of ${size(total)}, ${size(perSecond)}/s, ${left} left`);
    };
  }

  async function send() {
    const body = preview.addTo(new FormData());
    if (file) body.append("file", file);
    else body.append("text", text.value);
    const abort = new AbortController();
    cancel.onclick = () => abort.abort();
    setBusy(true);
    complain(error, "");
    try {
      const options = { onProgress: progress(), signal: abort.signal };
      const { batchId } = await upload(form.dataset.api, body, options);
      location.assign(`${form.dataset.batches}${batchId}`);
      write(state, "Stored.");
    } catch (problem) {
      const cancelled = problem instanceof Cancelled;
      write(state, cancelled ? problem.message : "");
      if (!cancelled) complain(error, problem.message);
    } finally {
      setBusy(false);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (file || text.value.trim()) send();
    else if (error.hidden) complain(error, "Choose a file, or paste addresses, first.");
  });
  input.addEventListener("change", () => choose(input.files[0]));
  text.addEventListener("input", paste);
  wireDrop(zone, () => busy, (dropped) => {
    input.value = "";
    choose(dropped);
  });
  // What the browser kept from before a reload.
  if (input.files[0]) choose(input.files[0]);
  else if (text.value.trim()) look();
}

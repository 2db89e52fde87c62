// The card "Upload a list": choose or drop a file, send it, show how far it is.

import { Cancelled, upload } from "./api.js";
import { size } from "./format.js";

export function wireUpload(form, onStored) {
  const input = form.querySelector("input[type=file]");
  const drop = form.querySelector(".drop");
  const chosen = form.querySelector("#chosen");
  const submit = form.querySelector("button[type=submit]");
  const cancel = form.querySelector("#cancel-upload");
  const bar = form.querySelector("#upload-progress");
  const state = form.querySelector("#upload-state");
  const error = form.querySelector("#upload-error");
  const prompt = chosen.textContent;
  const maxMegabytes = Number(form.dataset.maxMegabytes);
  let file = null;

  function fail(message) {
    error.textContent = message;
    error.hidden = !message;
  }

  function choose(newFile) {
    file = newFile ?? null;
    chosen.textContent = file ? `${file.name} (${size(file.size)})` : prompt;
    state.textContent = "";
    const tooLarge = file && file.size > maxMegabytes * 1e6;
    fail(tooLarge ? `The file is larger than ${maxMegabytes} MB. Split it into smaller ones.` : "");
    if (tooLarge) file = null;
  }

  function busy(isBusy) {
    submit.disabled = isBusy;
    input.disabled = isBusy;
    bar.hidden = cancel.hidden = !isBusy;
    if (isBusy) bar.value = 0;
  }

  function show(loaded, total) {
    bar.value = total ? loaded / total : 0;
    state.textContent =
      loaded < total ? `${size(loaded)} of ${size(total)} sent` : "Sent; reading the file…";
  }

  input.addEventListener("change", () => choose(input.files[0]));

  for (const type of ["dragenter", "dragover"]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const type of ["dragleave", "drop"]) {
    drop.addEventListener(type, () => drop.classList.remove("over"));
  }
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!submit.disabled) choose(event.dataTransfer.files[0]);
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!file) {
      if (error.hidden) fail("Choose a file first.");
      return;
    }
    const abort = new AbortController();
    cancel.onclick = () => abort.abort();
    busy(true);
    fail("");
    try {
      const batch = await upload(form.action, file, { onProgress: show, signal: abort.signal });
      form.reset();
      choose(null);
      await onStored(batch);
    } catch (problem) {
      state.textContent = problem instanceof Cancelled ? "Cancelled; nothing was stored." : "";
      if (!(problem instanceof Cancelled)) fail(problem.message);
    } finally {
      busy(false);
    }
  });
}

// A row of the list of batches.

import { copyOf, setStatus, setText, write } from "../lib/dom.js";
import { ago, count, isTerminal, limit, localTime, pace } from "../lib/format.js";
import { drawBar } from "./bar.js";

export const idOf = (row) => Number(row.dataset.batch);

// Return a row for a batch of the API, without its progress. The template's row has a bar, which only
// a batch that is processed has.
export function rowOf(batch, template, path, title) {
  const row = copyOf(template);
  row.querySelector(".bar").remove();
  row.dataset.batch = batch.id;
  row.dataset.revision = 0;
  const link = setText(row, "filename", batch.filename);
  link.href = `${path}${batch.id}`;
  link.title = batch.filename;
  if (title) setText(row, "processor", title);
  const time = row.querySelector("time");
  time.dateTime = batch.createdAt;
  time.title = localTime(batch.createdAt);
  setText(row, "by", batch.uploadedBy ? ` by ${batch.uploadedBy}` : "");
  const { totalEmails: total } = batch;
  setText(row, "total", count(total)).dataset.unit = total === 1 ? "email" : "emails";
  return row;
}

// Show a snapshot in the row; its bar, if it needs one, is a copy of the template's.
export function fill(row, snapshot, template) {
  const { revision, status, total, verdicts, perMinute = null } = snapshot;
  row.dataset.revision = revision;
  row.dataset.status = status;
  for (const [name, number] of Object.entries(verdicts)) {
    setText(row, name, count(number)).toggleAttribute("data-zero", number === 0);
  }
  if (status === "processing") drawBar(barOf(row, template), total, verdicts);
  else row.querySelector(".bar")?.remove();
  setStatus(row, snapshot);
  showPace(row, snapshot);
  setText(row, "limit", isTerminal(status) ? "" : limit(perMinute));
}

function barOf(row, template) {
  const present = row.querySelector(".bar");
  if (present) return present;
  const bar = template.content.querySelector(".bar").cloneNode(true);
  row.querySelector(".state").append(bar);
  return bar;
}

// Show how far the batch is, unless that is nothing or all of it; and how fast, if that is known and
// the batch isn't paused.
export function showPace(row, { status, processed, total, rate = null, secondsLeft = null, paused }) {
  const isPartly = status === "processing" || (0 < processed && processed < total);
  const speed = paused ? [null, null] : [rate, secondsLeft];
  setText(row, "pace", isPartly ? pace(processed, total, ...speed) : "");
}

// Show how long ago the batch was uploaded.
export function showAge(row, now) {
  const time = row.querySelector("time");
  write(time, ago(time.dateTime, now));
}

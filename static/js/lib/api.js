// Requests to the server. Every failure is an Error whose message a person can read; its code is the
// name that the API has for it.

const UNREACHABLE = "The server can't be reached. Is app.py running?";

// Thrown when a request was aborted, because its answer isn't wanted any more.
export class Cancelled extends Error {}

function problem(text, status) {
  try {
    const { detail, code } = JSON.parse(text);
    return Object.assign(new Error(detail), { code });
  } catch {
    return new Error(`The server answered with status ${status}.`);
  }
}

async function json(url, options) {
  let response, text;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" }, ...options });
    text = await response.text();
  } catch {
    if (options.signal?.aborted) throw new Cancelled();
    throw new Error(UNREACHABLE);
  }
  // A degraded health report has status 503, and is an answer all the same.
  if (!response.ok && !response.headers.get("Content-Type")?.startsWith("application/json")) {
    throw problem(text, response.status);
  }
  return JSON.parse(text);
}

export const getJson = (url, signal) => json(url, { signal });

export const postForm = (url, form, signal) => json(url, { method: "POST", body: form, signal });

// Return a batch of the API in the shape that the event stream sends.
export const snapshotOf = (batch) => ({
  ...batch,
  batchId: batch.id,
  processed: batch.processedCount,
  failed: batch.failedCount,
  total: batch.totalEmails,
});

// Uses XMLHttpRequest, because fetch() does not report the progress of an upload. Between the last
// byte and the answer, the browser can't know whether the batch is stored.
export function upload(url, form, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    let isSent = false;
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total));
    request.upload.addEventListener("load", () => (isSent = true));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText));
      else reject(problem(request.responseText, request.status));
    });
    request.addEventListener("error", () => {
      const message = isSent
        ? "The connection broke while the rows were being stored. Look below for the batch first."
        : "The upload broke off, and nothing of it was stored. Please try again.";
      reject(new Error(message));
    });
    request.addEventListener("abort", () => {
      const what = isSent ? "If the batch was stored by then, it shows below." : "Nothing was stored.";
      reject(new Cancelled(`Cancelled. ${what}`));
    });
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

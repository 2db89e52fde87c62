// Calls to the server. Every failure is an Error whose message a person can read.

const UNREACHABLE = "The server can't be reached. Is app.py running?";

// What was asked for isn't wanted any more.
export class Cancelled extends Error {}

function problem(text, status) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return `The server answered with status ${status}.`;
  }
}

async function answer(url, options) {
  try {
    const response = await fetch(url, { headers: { Accept: "application/json" }, ...options });
    return [response, await response.text()];
  } catch {
    if (options.signal?.aborted) throw new Cancelled();
    throw new Error(UNREACHABLE);
  }
}

async function json(url, options) {
  const [response, text] = await answer(url, options);
  // A degraded health report comes with status 503 and says more than the status.
  if (!response.ok && !response.headers.get("Content-Type")?.startsWith("application/json")) {
    throw new Error(problem(text, response.status));
  }
  return JSON.parse(text);
}

export const getJson = (url, signal) => json(url, { signal });

export const postForm = (url, form, signal) => json(url, { method: "POST", body: form, signal });

// XMLHttpRequest, because fetch() does not tell how much of an upload has gone. Once all of it has,
// nobody here knows what becomes of it until the answer comes.
export function upload(url, form, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    let isSent = false;
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total));
    request.upload.addEventListener("load", () => (isSent = true));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText));
      else reject(new Error(problem(request.responseText, request.status)));
    });
    request.addEventListener("error", () => {
      const [what, now] = isSent
        ? ["The connection broke while the rows were being stored.", "Look below for the batch first."]
        : ["The upload broke off, and nothing of it was stored.", "Please try again."];
      reject(new Error(`${what} ${now}`));
    });
    request.addEventListener("abort", () => {
      const what = isSent ? "If the batch was stored by then, it shows below." : "Nothing was stored.";
      reject(new Cancelled(`Cancelled. ${what}`));
    });
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

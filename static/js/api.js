// Calls to the server. Every failure is an Error whose message a person can read.

const UNREACHABLE = "The server can't be reached. Is app.py running?";

export class Cancelled extends Error {}

function problem(text, status) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return `The server answered with status ${status}.`;
  }
}

export async function getJson(url) {
  let response;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error(UNREACHABLE);
  }
  const text = await response.text();
  // A degraded health report comes with status 503 and says more than the status.
  if (!response.ok && !response.headers.get("Content-Type")?.startsWith("application/json")) {
    throw new Error(problem(text, response.status));
  }
  return JSON.parse(text);
}

// XMLHttpRequest, because fetch() does not tell how much of an upload has gone.
export function upload(url, file, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText));
      else reject(new Error(problem(request.responseText, request.status)));
    });
    request.addEventListener("error", () =>
      reject(new Error("The upload broke off, and nothing of it was stored. Please try again.")),
    );
    request.addEventListener("abort", () => reject(new Cancelled()));
    signal.addEventListener("abort", () => request.abort());
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}

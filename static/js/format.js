// Numbers and times as text. Nothing here touches the page.

const TERMINAL = new Set(["completed", "failed", "cancelled", "deleted"]);
const whole = new Intl.NumberFormat("en");
const UNKNOWN = "–";

export const count = (number) => whole.format(number);

export const isTerminal = (status) => TERMINAL.has(status);

// Rounded down, so that 100 means all.
export const percent = (part, whole) => Math.floor((100 * part) / whole);

export const rate = (perSecond) =>
  perSecond === null ? UNKNOWN : `${count(Math.floor(perSecond))}/s`;

// A length of time as a clock shows it: 0:07, 12:30, 1:02:03.
export function clock(seconds) {
  if (seconds === null) return UNKNOWN;
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(seconds / 60) % 60;
  const hours = Math.floor(seconds / 3600);
  const rest = two(Math.floor(seconds) % 60);
  return hours ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

export const size = (bytes) =>
  bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;

export const localTime = (iso) =>
  new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// A length of time as people say it, rounded down.
function duration(seconds) {
  for (const [unit, size, most] of [["s", 1, 60], ["min", 60, 3600], ["h", 3600, 172800]]) {
    if (seconds < most) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${count(Math.floor(seconds / 86400))} days`;
}

const LEVEL = { ok: "OK", warning: "Degraded", error: "Problem" };

export const several = (number, name) => `${count(number)} ${name}${number === 1 ? "" : "s"}`;

function workersText({ workersAlive, workerThreads }) {
  if (workersAlive === null) return "workers unknown";
  if (workersAlive === 0) return "no worker";
  return `${several(workersAlive, "worker")}, ${several(workerThreads, "thread")}`;
}

function rateText(workers) {
  if (workers === null) return "rate unknown";
  return `${count(Math.floor(workers.reduce((sum, { rate }) => sum + rate, 0)))} emails/s`;
}

function oldestText({ oldestWaiting: oldest, unfinishedBatches: unfinished }) {
  if (oldest) return `oldest waiting: batch ${oldest.batchId} for ${duration(oldest.seconds)}`;
  if (unfinished === 0) return "nothing waits";
  return unfinished === null ? "waiting unknown" : `${count(unfinished)} unfinished`;
}

function lastSeenText({ workersAlive, lastWorkerSeen: last }) {
  if (workersAlive !== 0 || !last) return "";
  return `One was last seen ${duration(last.secondsAgo)} ago on ${last.host}:${last.pid}.`;
}

// The texts of a health report, by data-field. The same words are in web/health.py.
export function strip(report) {
  const { queueDepth, notice } = report;
  return {
    level: LEVEL[notice?.level ?? "ok"],
    workers: workersText(report),
    rate: rateText(report.workers),
    queue: queueDepth === null ? "queue unknown" : `${count(queueDepth)} in the queue`,
    oldest: oldestText(report),
    database: `PostgreSQL ${report.database}`,
    redis: `Redis ${report.redis}`,
    text: notice?.text ?? "",
    lastSeen: lastSeenText(report),
    command: notice?.command ?? "",
  };
}

// Who did something, where that is known.
export const by = (name) => (name ? ` by ${name}` : "");

// What somebody did to a batch, but for the time.
export function done({ action, by: name, which, emails }) {
  const what = action[0].toUpperCase() + action.slice(1) + by(name);
  return emails === null
    ? what
    : `${what}: ${several(emails, "email")} (${which.replaceAll("_", " ")})`;
}

// Numbers and times as text, in the words of runtime/phrases.py. Nothing here touches the page.

const TERMINAL = new Set(["completed", "failed", "cancelled", "deleted"]);
// One locale for numbers and times, because the texts are English, too.
const LOCALE = "en-GB";
const integers = new Intl.NumberFormat(LOCALE);
const times = new Intl.DateTimeFormat(LOCALE, {
  day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", timeZoneName: "short",
});
const timesOfDay = new Intl.DateTimeFormat(LOCALE, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
const days = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", year: "numeric" });
const UNKNOWN = "–";

export const count = (number) => integers.format(number);

export const several = (number, name, plural = `${name}s`) =>
  `${count(number)} ${number === 1 ? name : plural}`;

export const isTerminal = (status) => TERMINAL.has(status);

// Rounded down, so that 100 means all.
export const percent = (part, whole) => Math.floor((100 * part) / whole);

// Rounded percent: neither 0% for some nor 100% for most; 0% of nothing.
export function proportion(part, whole) {
  const rounded = whole ? Math.round((100 * part) / whole) : 0;
  if (part > 0 && rounded === 0) return "<1%";
  return part < whole && rounded === 100 ? ">99%" : `${rounded}%`;
}

export const rate = (perSecond) =>
  perSecond === null ? UNKNOWN : `${count(Math.floor(perSecond))}/s`;

// A length of time as on a clock: 0:07, 12:30, 1:02:03.
export function clock(seconds) {
  if (seconds === null) return UNKNOWN;
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(seconds / 60) % 60;
  const hours = Math.floor(seconds / 3600);
  const rest = two(Math.floor(seconds) % 60);
  return hours ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

export function size(bytes) {
  if (bytes < 1e3) return several(bytes, "byte");
  return bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// The date and time in the browser's time zone, which is named: 28 Nov 2026, 11:43 CET.
export const localTime = (iso) => times.format(new Date(iso));

// The emails that wait for their next round, and its time; empty without any. With seconds, because
// most waits are shorter than a minute.
export function waiting(number, iso) {
  if (number === 0 || iso === null) return "";
  const at = timesOfDay.format(new Date(iso));
  const verb = number === 1 ? "has" : "have";
  return `${several(number, "email")} ${verb} no answer yet; the next try is at ${at}`;
}

// Who paused a batch, or why, and until when, in sentences.
export function paused({ by, why, until }) {
  const said = `Paused${by ? ` by ${by}` : ""}${until ? ` until ${localTime(until)}` : ""}`;
  if (!why) return `${said}.`;
  return `${said}: ${why}${/[.!?…]$/.test(why) ? "" : "."} Anybody can resume it.`;
}

// A time as seen from `now`, in milliseconds: just now, 3 minutes ago; after a week, its day.
export function ago(iso, now) {
  const then = new Date(iso);
  const minutes = Math.floor((now - then) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${several(minutes, "minute")} ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${several(hours, "hour")} ago`;
  const passed = Math.floor(hours / 24);
  if (passed < 7) return passed === 1 ? "yesterday" : `${passed} days ago`;
  return days.format(then);
}

// How many of the matching rows are shown; empty if there are none.
export function shown(rows, matching) {
  if (rows === 0) return "";
  return `${count(rows)} ${matching === null ? "shown" : `of ${count(Math.max(rows, matching))}`}`;
}

// Emails of a retry, while they are processed or after the end.
export function checkedAgain(emails, ended, verb = "checked") {
  const [one, more] = ended ? ["was", "were"] : ["is", "are"];
  return `${several(emails, "email")} ${emails === 1 ? one : more} ${verb} again.`;
}

// The most answers of an email that are shown at once, and the most characters of a value there.
const FEW = 3;
const FEW_CHARACTERS = 60;

// The first few answers, shortened, and those that they don't show in full.
export function fewAnswers(answers) {
  const cut = (text) => {
    const characters = [...text];
    return characters.length <= FEW_CHARACTERS ? text : `${characters.slice(0, FEW_CHARACTERS - 1).join("")}…`;
  };
  const pairs = Object.entries(answers);
  const few = pairs.slice(0, FEW).map(([name, value]) => [name, cut(value)]);
  return { few, more: pairs.filter(([, value], i) => value !== few[i]?.[1]) };
}

// The columns that a list lacks, and its processor takes; empty if there are none.
export function lacking(names, processor) {
  if (names.length === 0) return "";
  const listed = names.map((name) => `“${name}”`).join(", ");
  return `This list has no ${names.length === 1 ? "column" : "columns"} ${listed}, which ${processor} takes.`;
}

// What a person is told who would have the work for interrupted emails done again.
export const interrupted = (emails) =>
  `The work for ${several(emails, "email")} may have been done; nobody can tell. If it was, it is done twice.`;

// A rate beside the progress that it limits: At most 600 a minute; empty for no limit.
export const limit = (perMinute) =>
  perMinute === null ? "" : `At most ${count(perMinute)} a minute`;

// How far a batch is, without what is unknown: 42% · 1,200/s · 0:12 left.
export function pace(done, total, perSecond, secondsLeft) {
  const parts = [`${percent(done, total)}%`];
  if (perSecond !== null) parts.push(rate(perSecond));
  if (secondsLeft !== null) parts.push(`${clock(secondsLeft)} left`);
  return parts.join(" · ");
}

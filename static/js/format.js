// Numbers and times as text. Nothing here touches the page.

const TERMINAL = new Set(["completed", "failed", "cancelled"]);
const whole = new Intl.NumberFormat("en");

export const count = (number) => whole.format(number);

export const isTerminal = (status) => TERMINAL.has(status);

// Rounded down, so that 100% means all.
export const percent = (processed, total) => `${Math.floor((100 * processed) / total)}%`;

export const size = (bytes) =>
  bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;

export function accounting(rows) {
  return (
    `${count(rows.total)} rows = ${count(rows.emails)} emails + ${count(rows.duplicates)} duplicates` +
    ` + ${count(rows.withoutAddress)} without an address + ${count(rows.blank)} blank`
  );
}

export const localTime = (iso) =>
  new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// How fast a batch is processed, and how long that still takes.

import { setText } from "./fields.js";
import { clock, rate } from "./format.js";

// Without news for this long, a batch isn't moving.
const STILL_MS = 6000;

export const isStill = (heard) => performance.now() - heard >= STILL_MS;

// What isn't known is null, or missing.
export function showPace(root, { rate: perSecond = null, secondsLeft = null }) {
  setText(root, "rate", rate(perSecond));
  setText(root, "left", clock(secondsLeft));
}

// The rate of a batch, and the time that is left.

import { setText } from "../lib/dom.js";
import { clock, rate } from "../lib/format.js";

// A processing batch without a snapshot for this long stands still.
const STILL_MS = 6000;

export const isStill = (heard) => performance.now() - heard >= STILL_MS;

// Takes a snapshot; an unknown value is null or missing.
export function showPace(root, { rate: perSecond = null, secondsLeft = null }) {
  setText(root, "rate", rate(perSecond));
  setText(root, "left", clock(secondsLeft));
}

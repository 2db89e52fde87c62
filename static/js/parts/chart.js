// The chart of the rate since the batch was started, in at most 60 points.

import { write } from "../lib/dom.js";
import { rate } from "../lib/format.js";

const MOST = 60;

export class Chart {
  #figure;
  #points;
  #interval; // seconds between two points
  #most; // the highest rate that was shown, which lasts for less than a point
  #since = performance.now();
  #rates = []; // since the newest point

  constructor(figure) {
    this.#figure = figure;
    this.#points = figure.dataset.points.split(" ").filter(Boolean).map(Number);
    this.#interval = Number(figure.dataset.interval);
    this.#most = Number(figure.dataset.most);
  }

  add(perSecond) {
    this.#rates.push(perSecond);
    this.#most = Math.max(this.#most, perSecond);
    write(this.#figure.querySelector('[data-field="most"]'), rate(this.#most));
    if (performance.now() - this.#since < this.#interval * 1000) return;
    this.#since = performance.now();
    this.#points.push(this.#mean(this.#rates));
    this.#rates = [];
    if (this.#points.length > MOST) this.#halve();
    this.#draw();
  }

  #mean(numbers) {
    return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
  }

  // Replace each pair of points by its mean.
  #halve() {
    this.#interval *= 2;
    this.#points = this.#points
      .map((point, i, all) => this.#mean([point, all[i + 1] ?? point]))
      .filter((_, i) => i % 2 === 0);
  }

  #draw() {
    const step = 60 / Math.max(this.#points.length - 1, 1);
    const line = this.#points
      .map((point, i) => `${i * step},${19 - (18 * point) / (this.#most || 1)}`)
      .join(" ");
    this.#figure.querySelector("polyline").setAttribute("points", line);
    this.#figure.querySelector("polygon").setAttribute("points", `0,20 ${line} 60,20`);
    this.#figure.toggleAttribute("data-empty", this.#points.length < 2);
  }
}

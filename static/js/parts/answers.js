// The answers of a processor in a row: the first few, shortened, and what they don't show a click away.

import { element } from "../lib/dom.js";
import { fewAnswers } from "../lib/format.js";

function listOf(pairs) {
  const list = document.createElement("ul");
  for (const [name, value] of pairs) {
    const entry = document.createElement("li");
    entry.append(element("b", name, "", "auto"), " ", element("span", value, "", "auto"));
    list.append(entry);
  }
  return list;
}

export function showAnswers(place, answers) {
  const all = JSON.stringify(answers ?? null);
  if (place.dataset.all === all) return; // what is open stays so
  place.dataset.all = all;
  place.replaceChildren();
  if (!answers) return;
  const { few, more } = fewAnswers(answers);
  place.append(listOf(few));
  if (more.length === 0) return;
  const details = document.createElement("details");
  details.append(element("summary", "More answers"), listOf(more));
  place.append(details);
}

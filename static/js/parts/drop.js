// A zone over the whole page, which shows while files are dragged over it. Nothing is counted and no
// element is asked where the pointer is: browsers differ in that, and WebKit tells neither what is
// left nor, before the drop, what is dragged.

// The time from the last sign of a drag to its end. Browsers give a sign every 350 ms at least, and
// most of them every 50 ms.
const SILENT_MS = 600;
// The same after the pointer has left something for the outside of the page, or nobody knows for what.
const LEFT_MS = 150;

export class DropZone {
  #zone;
  #isBusy;
  #onFiles;
  #timer = 0;
  #isOurs = false; // whether what is dragged is a part of this page

  // Calls onFiles(files) for files that are dropped while isBusy() is false.
  constructor(zone, isBusy, onFiles) {
    this.#zone = zone;
    this.#isBusy = isBusy;
    this.#onFiles = onFiles;
    addEventListener("dragstart", () => (this.#isOurs = true));
    for (const type of ["dragenter", "dragover"]) {
      addEventListener(type, (event) => this.#over(event));
    }
    addEventListener("dragleave", (event) => {
      if (!zone.hidden && !event.relatedTarget) this.#hideIn(LEFT_MS);
    });
    addEventListener("drop", (event) => this.#drop(event));
    addEventListener("dragend", () => this.#end());
    addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.#end();
    });
  }

  // Return whether files may be dragged: there are no types before the drop in WebKit.
  #hasFiles({ dataTransfer }) {
    const types = Array.from(dataTransfer?.types ?? []);
    return !this.#isOurs && (types.length === 0 || types.includes("Files"));
  }

  #over(event) {
    if (!this.#hasFiles(event)) return;
    event.preventDefault(); // or the browser opens the file itself
    if (this.#isBusy()) {
      event.dataTransfer.dropEffect = "none";
      return;
    }
    this.#zone.hidden = false;
    this.#hideIn(SILENT_MS);
  }

  #hideIn(milliseconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.#zone.hidden = true), milliseconds);
  }

  #drop(event) {
    if (this.#hasFiles(event)) {
      event.preventDefault();
      const files = Array.from(event.dataTransfer?.files ?? []);
      if (files.length > 0 && !this.#isBusy()) this.#onFiles(files);
    }
    this.#end();
  }

  #end() {
    clearTimeout(this.#timer);
    this.#zone.hidden = true;
    this.#isOurs = false;
  }
}

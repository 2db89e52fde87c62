// Questions before what can't be undone. Without scripts they are popovers; with them, dialogs that
// keep the focus until they are answered.

export function wireDialogs() {
  for (const dialog of document.querySelectorAll("dialog[popover]")) {
    dialog.removeAttribute("popover");
    for (const button of document.querySelectorAll(`[popovertarget="${dialog.id}"]`)) {
      button.removeAttribute("popovertarget");
      button.addEventListener("click", () => (dialog.open ? dialog.close() : dialog.showModal()));
    }
  }
}

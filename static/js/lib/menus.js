// Menus: a click beside an open one closes it, and so does Escape, which brings the focus back.

export function wireMenus() {
  const open = () => document.querySelectorAll("details.menu[open]");
  addEventListener("click", ({ target }) => {
    for (const menu of open()) menu.open = menu.contains(target) && !target.closest("a[download]");
  });
  addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    for (const menu of open()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

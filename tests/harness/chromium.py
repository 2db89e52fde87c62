"""Find and launch the Chromium of the tests."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

# The first has no window at all, and takes a third of the others' processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome",
         "google-chrome-stable")  # fmt: skip
# It must send no requests of its own to the internet.
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

MISSING = "There is no Chromium; `make system` installs it, or says how."


def executable() -> str | None:
    """Return the path in CHROMIUM, one on PATH, or Playwright's own; None if there is none."""
    given = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if given:
        return given
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if os.path.exists(own) else None  # noqa: PTH110


def launch(playwright: Playwright) -> Browser:
    """Launch Chromium without a window. Raises RuntimeError if there is none."""
    path = executable()
    if path is None:
        raise RuntimeError(MISSING)
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # which root can't use
    return playwright.chromium.launch(executable_path=path, args=FLAGS + sandbox)

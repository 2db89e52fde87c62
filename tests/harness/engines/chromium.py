"""Chromium by Playwright, through the methods of all engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Error, Page

from harness.engines.tabs import HEIGHT, WIDTH, Engine, ScriptError, Tab


class ChromiumTab(Tab):
    def __init__(self, page: Page) -> None:
        self._page = page

    def goto(self, url: str) -> None:
        self._page.goto(url)

    def _evaluate(self, expression: str) -> str:
        try:
            return self._page.evaluate(expression)  # type: ignore[no-any-return]
        except Error as error:
            raise ScriptError(error.message) from error

    def choose(self, selector: str, path: Path) -> None:
        self._page.set_input_files(selector, path)

    def resize(self, width: int, height: int) -> None:
        self._page.set_viewport_size({"width": width, "height": height})

    def close(self) -> None:
        self._page.close()


class Chromium(Engine):
    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @contextmanager
    def context(self) -> Iterator[Callable[[], Tab]]:
        with self._browser.new_context(
            color_scheme="dark", viewport={"width": WIDTH, "height": HEIGHT}
        ) as context:
            yield lambda: ChromiumTab(context.new_page())

"""Fixtures: tabs of headless Chromium, whose console must stay clean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from harness import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, run: Any, serve: Any) -> Iterator[Callable[..., Page]]:
    """Open a tab, in a context with these options; its console may only say what `allowed` matches.

    Several tabs share a context if the first one's is given as `context`. All tabs are closed
    before the servers that `run` and `serve` started.
    """
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def open_(context: BrowserContext | None = None, allowed: str = "", **options: Any) -> Page:
        if context is None:
            context = browser.new_context(**options)
            contexts.append(context)
        page = context.new_page()

        def note(message: ConsoleMessage) -> None:
            told = message.type in ("error", "warning")
            if told and not (allowed and re.search(allowed, message.text)):
                said.append(message.text)

        page.on("console", note)
        page.on("pageerror", lambda error: said.append(f"{error}\n{error.stack}"))
        page.set_default_timeout(20_000)
        return page

    yield open_
    for context in contexts:
        for page in context.pages:
            # A route that is still being answered would raise when its page is closed.
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert said == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """A tab whose console must stay free of errors and warnings."""
    return open_page()

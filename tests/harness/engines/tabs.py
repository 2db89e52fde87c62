"""Use the pages in any browser, by the same few methods."""

from __future__ import annotations

import json
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Self

from harness.polling import eventually
from harness.processes import Running

WIDTH, HEIGHT = 1200, 900


class ScriptError(Exception):
    """A script raised an error, or its page went away meanwhile."""


class Tab(ABC):
    """A window of a browser. A browser hides background tabs, but no windows."""

    @abstractmethod
    def goto(self, url: str) -> None:
        """Go to the address, and wait until its page is loaded."""

    @abstractmethod
    def _evaluate(self, expression: str) -> str:
        """Return the text that the JavaScript expression gives. Raises ScriptError."""

    @abstractmethod
    def choose(self, selector: str, path: Path) -> None:
        """Put the file at `path` into a file input."""

    @abstractmethod
    def resize(self, width: int, height: int) -> None:
        """Give the window this size; its page may be less high, by the height of a toolbar."""

    @abstractmethod
    def close(self) -> None:
        """Close the window. Other windows of its context stay open."""

    def run(self, expression: str) -> Any:
        """Return the value of the JavaScript expression as JSON has it. Raises ScriptError."""
        return json.loads(self._evaluate(f"JSON.stringify(({expression})) ?? 'null'"))

    def until(self, expression: str, seconds: float = 60.0) -> None:
        """Wait until JavaScript takes the expression's value for true, maybe on the next page.

        Raises AssertionError, with the page's text, if that takes too long.
        """

        def is_true() -> bool:
            try:
                return bool(self.run(f"!!({expression})"))
            except ScriptError:
                return False

        try:
            eventually(is_true, seconds)
        except AssertionError:
            said = f"not within {seconds} s: {expression}\n{self._shown()}"
            raise AssertionError(said) from None

    def _shown(self) -> str:
        """Return the page's address and text."""
        try:
            return self.run("`${location}\n${document.body.innerText}`")  # type: ignore[no-any-return]
        except ScriptError as error:
            return str(error)

    def click(self, selector: str) -> None:
        """Click on the element as a script does. Raises ScriptError if there is none."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")


class Engine(ABC):
    """A running browser, whose pages have dark colours."""

    @abstractmethod
    def context(self) -> AbstractContextManager[Callable[[], Tab]]:
        """Open tabs that share no state with those of earlier contexts; close them at the end."""


class Family(Running):
    """A process that is ended with all processes that it started."""

    def __init__(self, *command: str | Path, **changes: str) -> None:
        """Start the command, with these changes of the environment."""
        super().__init__(command, {**os.environ, **changes}, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

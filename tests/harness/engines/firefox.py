"""Firefox by WebDriver BiDi, which it speaks itself over a web socket.

The commands are described in https://w3c.github.io/webdriver-bidi/.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import websocket

from harness.engines.tabs import HEIGHT, WIDTH, Engine, Family, ScriptError, Tab

EXECUTABLE = "firefox-esr"
# Longer than any command takes.
COMMAND_SECONDS = 60
# Colours are set in the profile, because no command sets them. Firefox sends no requests of its own
# to the internet while it is driven.
DARK = 'user_pref("layout.css.prefers-color-scheme.content-override", 0);\n'


class RefusedError(Exception):
    """Firefox answered a command with an error."""


class Line:
    """Sends commands to a Firefox, one after another."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(
            url, timeout=COMMAND_SECONDS, suppress_origin=True
        )
        self._numbers = itertools.count(1)

    def send(self, method: str, **parameters: Any) -> Any:
        """Return the result of the command. Raises RefusedError."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") != number:
                continue  # an event
            if answer["type"] == "error":
                raise RefusedError(f"{answer['error']}: {answer['message']}")
            return answer["result"]

    def close(self) -> None:
        self._socket.close()


class FirefoxTab(Tab):
    def __init__(self, line: Line, context: str) -> None:
        self._line = line
        self._context = context
        self.resize(WIDTH, HEIGHT)

    def goto(self, url: str) -> None:
        self._line.send("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def _evaluate(self, expression: str) -> str:
        try:
            answer = self._line.send(
                "script.evaluate",
                expression=expression,
                target={"context": self._context},
                awaitPromise=False,
            )
        except RefusedError as error:
            raise ScriptError(str(error)) from error
        if answer["type"] == "exception":
            raise ScriptError(answer["exceptionDetails"]["text"])
        return answer["result"]["value"]  # type: ignore[no-any-return]

    def choose(self, selector: str, path: Path) -> None:
        found = self._line.send(
            "browsingContext.locateNodes",
            context=self._context,
            locator={"type": "css", "value": selector},
        )
        element = {"sharedId": found["nodes"][0]["sharedId"]}
        self._line.send("input.setFiles", context=self._context, element=element, files=[str(path)])

    def resize(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        self._line.send("browsingContext.setViewport", context=self._context, viewport=viewport)

    def close(self) -> None:
        self._line.send("browsingContext.close", context=self._context)


class Firefox(Engine):
    def __init__(self, line: Line) -> None:
        self._line = line

    @contextmanager
    def context(self) -> Iterator[Callable[[], Tab]]:
        user = self._line.send("browser.createUserContext")["userContext"]

        def open_() -> Tab:
            made = self._line.send("browsingContext.create", type="window", userContext=user)
            return FirefoxTab(self._line, made["context"])

        try:
            yield open_
        finally:  # and close its windows
            self._line.send("browser.removeUserContext", userContext=user)


@contextmanager
def launch() -> Iterator[Firefox]:
    """Run Firefox without a window, with a profile of its own."""
    with ExitStack() as held:
        profile = held.enter_context(TemporaryDirectory(prefix="firefox-"))
        Path(profile, "user.js").write_text(DARK)
        command = (EXECUTABLE, "--headless", "--no-remote", "--profile", profile)
        process = held.enter_context(
            Family(*command, "--remote-debugging-port", "0", MOZ_CRASHREPORTER_DISABLE="1")
        )
        listening = process.await_line(r"WebDriver BiDi listening on (ws://\S+)")
        line = held.enter_context(closing(Line(f"{listening[1]}/session")))
        line.send("session.new", capabilities={})
        yield Firefox(line)

"""WebKitGTK by its WebDriver, an HTTP server; its small browser needs a display, here Xvfb's.

The commands are described in https://www.w3.org/TR/webdriver2/.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from harness.engines.tabs import HEIGHT, WIDTH, Engine, Family, ScriptError, Tab
from harness.polling import eventually
from harness.servers import LOCALHOST, free_port
from harness.site import Site

DRIVER, XSERVER = "WebKitWebDriver", "Xvfb"
# The browser's toolbar, which else would not let its window be as narrow as a phone.
TOOLBAR = "button, entry { min-width: 0; padding: 0; }"


class RefusedError(Exception):
    """The driver answered a command with an error."""


class Line:
    """Sends commands to a WebKitWebDriver, one after another."""

    def __init__(self, port: int) -> None:
        self._site = Site(f"http://{LOCALHOST}:{port}")

    def send(self, method: str, path: str, **parameters: Any) -> Any:
        """Return the value that the driver answers with. Raises RefusedError."""
        body = json.dumps(parameters).encode() if method == "POST" else None
        answer = self._site.request(method, path, body)
        value = answer.json["value"]
        if answer.status != http.client.OK:
            raise RefusedError(f"{value['error']}: {value['message']}")
        return value


class WebKitTab(Tab):
    def __init__(self, line: Line, session: str, handle: str) -> None:
        self._line = line
        self._session = session
        self._handle = handle
        self.resize(WIDTH, HEIGHT)

    def _send(self, method: str, path: str, **parameters: Any) -> Any:
        """Send a command to this window."""
        self._line.send("POST", f"{self._session}/window", handle=self._handle)
        return self._line.send(method, f"{self._session}/{path}", **parameters)

    def goto(self, url: str) -> None:
        self._send("POST", "url", url=url)

    def _evaluate(self, expression: str) -> str:
        try:
            return self._send("POST", "execute/sync", script=f"return {expression}", args=[])  # type: ignore[no-any-return]
        except RefusedError as error:
            raise ScriptError(str(error)) from error

    def choose(self, selector: str, path: Path) -> None:
        found = self._send("POST", "element", using="css selector", value=selector)
        (element,) = found.values()
        self._send("POST", f"element/{element}/value", text=str(path))

    def resize(self, width: int, height: int) -> None:
        self._send("POST", "window/rect", width=width, height=height)

    def close(self) -> None:
        self._send("DELETE", "window")


class WebKit(Engine):
    def __init__(self, driver: Family, line: Line) -> None:
        self._driver = driver
        self._line = line

    def is_ready(self) -> bool:
        """Return whether the driver takes commands. Raises AssertionError if it has ended."""
        assert self._driver.alive, self._driver.output
        try:
            return bool(self._line.send("GET", "/status")["ready"])
        except OSError:
            return False

    @contextmanager
    def context(self) -> Iterator[Callable[[], Tab]]:
        """Start the browser anew, which takes a third of a second; it keeps nothing on disk."""
        options = {"args": ["--automation", "--dark-mode"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        made = self._line.send("POST", "/session", capabilities=wanted)
        session = f"/session/{made['sessionId']}"
        unused = [self._line.send("GET", f"{session}/window")]

        def open_() -> Tab:
            if unused:
                return WebKitTab(self._line, session, unused.pop())
            made = self._line.send("POST", f"{session}/window/new", type="window")
            return WebKitTab(self._line, session, made["handle"])

        try:
            yield open_
        finally:
            self._line.send("DELETE", session)

    def kill_first_process(self) -> None:
        """Kill the first of the processes for pages and workers, which has the shared workers."""
        (browser,) = psutil.Process(self._driver.pid).children()
        pages = (each for each in browser.children() if each.name().startswith("WebKitWebP"))
        min(pages, key=psutil.Process.create_time).kill()


@contextmanager
def launch() -> Iterator[WebKit]:
    """Run a WebKitWebDriver, which starts a browser for each context."""
    with ExitStack() as held:
        screen = ("-noreset", "-nolisten", "tcp", "-screen", "0", "1600x1200x24")
        display = held.enter_context(Family(XSERVER, "-displayfd", "1", *screen))
        number = display.await_line(r"^(\d+)$")[1]
        folder = Path(held.enter_context(TemporaryDirectory(prefix="webkit-")))
        style = folder / "gtk-3.0" / "gtk.css"
        style.parent.mkdir()
        style.write_text(TOOLBAR)
        port = free_port()
        driver = held.enter_context(
            Family(
                *(DRIVER, f"--host={LOCALHOST}", f"--port={port}"),
                DISPLAY=f":{number}",
                XDG_CONFIG_HOME=str(folder),
                NO_AT_BRIDGE="1",
            )
        )
        webkit = WebKit(driver, Line(port))
        eventually(webkit.is_ready)
        yield webkit

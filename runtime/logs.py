"""`key=value` log lines, and outages that are logged once as they begin and once as they end.

No address of anybody's list gets into them by an error's message. What is logged while a request is
served has the request's id.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
import traceback
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType

# Characters of an event or of a value that are written.
MAX_VALUE = 2000

_PLAIN = re.compile(r"[\w.:/@+,-]+")
# A word with an @ in it. The pattern fits where a word begins, and doesn't go back
# in it, which would take the square of the length of one without an @.
_ADDRESS = re.compile(r"(?<!\S)[^\s@]*+@\S*+")
_CHAINED = "\nWhile that was handled:\n"

# The id of the request that this thread serves; empty for none.
REQUEST: ContextVar[str] = ContextVar("request", default="")


class _Line(str):
    """What line() returns; its first so many characters are the event."""

    event: int


class _Formatter(logging.Formatter):
    """Formats records as `key=value`, and errors without the data that their messages may hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        message = record.msg if isinstance(record.msg, _Line) else record.message
        end = message.event if isinstance(message, _Line) else len(message)
        request = REQUEST.get()
        now = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return (
            f"time={now} level={record.levelname} logger={record.name}"
            f" event={_value(message[:end])}{message[end:]}"
            + (f" request={request}" if request else "")
        )

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        errors, error = [], ei[1]
        while error is not None:
            errors.append(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return _CHAINED.join(
            "".join(traceback.format_tb(each.__traceback__))
            + f"{type(each).__qualname__}: {said(each)}"
            for each in reversed(errors)
        )


def said(error: BaseException) -> str:
    """An error's message, but for addresses, and for the rows and statements that PostgreSQL shows
    on the lines below the first; MAX_VALUE characters at most."""
    first, _, _ = str(error).strip().partition("\n")
    return _cut(without_addresses(first))


def without_addresses(text: str) -> str:
    """The text with a … in place of whatever has an @ in it."""
    return _ADDRESS.sub("…", text)


def setup() -> None:
    """Send log lines to standard error, from level INFO up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    # waitress warns whenever a request waits for a thread for an instant; that is no news.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def line(event: str, **values: object) -> str:
    """`event key=value …`; a value with spaces, quotes or line breaks is written as JSON.

    Of each, MAX_VALUE characters are written at most.
    """
    words = [event]
    for key, value in values.items():
        text = said(value) if isinstance(value, BaseException) else str(value)
        words.append(f"{key}={_value(text)}")
    written = _Line(" ".join(words))
    written.event = len(event)
    return written


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _value(text: str) -> str:
    text = _cut(text)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class Sparingly:
    """Logs what may happen very often: once, then once a minute with how often it did."""

    INTERVAL = 60.0

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._quiet_until = 0.0
        self._unlogged = 0

    def warning(self, event: str, **values: object) -> None:
        """Log, or only count if that was done within the last minute."""
        with self._lock:
            if time.monotonic() < self._quiet_until:
                self._unlogged += 1
                return
            self._quiet_until = time.monotonic() + self.INTERVAL
            unlogged, self._unlogged = self._unlogged, 0
        if unlogged:
            values["unlogged"] = unlogged
        self._logger.warning(line(event, **values))


class Outage:
    """Whether a server that we need is out of reach, shared by all threads that talk to it.

    It is over when a call goes well and none has failed for `settle` seconds before, so that
    threads of which some get through and some don't make one outage and not a hundred.
    """

    def __init__(self, server: str, logger: logging.Logger, settle: float = 0.0) -> None:
        self._server = server
        self._logger = logger
        self._settle = settle
        self._lock = threading.Lock()
        self._since: float | None = None
        self._failed = 0.0

    def begin(self, error: BaseException) -> None:
        """Note a failed call; only the first of an outage is logged."""
        with self._lock:
            self._failed = time.monotonic()
            if self._since is not None:
                return
            self._since = self._failed
        self._logger.error(line("unreachable", server=self._server, error=error))

    def end(self) -> None:
        """Note a call that went well; the first after an outage is logged with its length."""
        if self._since is None:  # read without the lock: every call comes by here
            return
        with self._lock:
            if self._since is None or time.monotonic() < self._failed + self._settle:
                return
            seconds, self._since = time.monotonic() - self._since, None
        self._logger.warning(line("reachable again", server=self._server, seconds=f"{seconds:.1f}"))

    @property
    def lasting(self) -> bool:
        """True from a failed call to the next that goes well."""
        return self._since is not None

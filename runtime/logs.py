"""Log lines of `key=value`, and outages, which are logged once at their beginning and at their end.

A line has no address of anybody's list in it: errors are logged without the addresses in their
messages. A line that is logged while a request is served has the request's id.
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
from functools import partialmethod
from typing import Any

from runtime.every import Every
from runtime.phrases import message_of, shorten

# The longest event or value, in characters; the rest is cut.
MAX_VALUE = 2000

_PLAIN = re.compile(r"[\w.:/@+,-]+")
# A word with an @ in it. The pattern matches only where a word begins and never backtracks, which
# would take the square of the length of a word without an @.
_ADDRESS = re.compile(r"(?<!\S)[^\s@]*+@\S*+")
_CHAINED = "\nWhile that was handled:\n"

# The id of the request that this thread serves; empty for none.
REQUEST: ContextVar[str] = ContextVar("request", default="")


class Logger:
    """Logs events with fields: `logger.info("stored", batch=7)` logs the message `stored batch=7`.

    A value with spaces, quotes or line breaks is written as JSON.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def _log(
        self, level: int, event: str, *, exc_info: BaseException | bool = False, **values: object
    ) -> None:
        if self._logger.isEnabledFor(level):
            fields = "".join(f" {key}={_value(value)}" for key, value in values.items())
            # The formatter needs to know where the event ends.
            self._logger.log(level, event + fields, exc_info=exc_info, extra={"fields": fields})

    debug = partialmethod(_log, logging.DEBUG)
    info = partialmethod(_log, logging.INFO)
    warning = partialmethod(_log, logging.WARNING)
    error = partialmethod(_log, logging.ERROR)
    exception = partialmethod(_log, logging.ERROR, exc_info=True)


class _Formatter(logging.Formatter):
    """Formats records as `key=value`, and errors without the data in their messages."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = getattr(record, "fields", "")  # a library's record has none
        event = _value(record.message.removesuffix(fields))
        request = REQUEST.get()
        now = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return f"time={now} level={record.levelname} logger={record.name} event={event}{fields}" + (
            f" request={request}" if request else ""
        )

    def formatException(self, ei: Any) -> str:  # noqa: N802
        errors: dict[int, BaseException] = {}
        error = ei[1]
        while error is not None and id(error) not in errors:  # `raise error from error` is a circle
            errors[id(error)] = error
            context = None if error.__suppress_context__ else error.__context__
            error = context if error.__cause__ is None else error.__cause__
        return _CHAINED.join(
            "".join(traceback.format_tb(each.__traceback__))
            + f"{type(each).__qualname__}: {said(each)}"
            for each in reversed(errors.values())
        )


def said(error: BaseException) -> str:
    """Return an error's message, without addresses, and cut to MAX_VALUE characters.

    Only the first line: PostgreSQL shows rows and statements on the next.
    """
    first, _, _ = message_of(error).strip().partition("\n")
    return shorten(without_addresses(first), MAX_VALUE)


def without_addresses(text: str) -> str:
    """Return the text with a … in place of each word with an @ in it."""
    return _ADDRESS.sub("…", text)


def setup() -> None:
    """Send log lines to standard error, from level INFO up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)


def _value(value: object) -> str:
    text = said(value) if isinstance(value, BaseException) else shorten(str(value), MAX_VALUE)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class RateLimited:
    """Logs an event that may come very often: once a minute, with the number left out before."""

    INTERVAL = 60.0

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._lines = Every(self.INTERVAL)
        self._unlogged = 0

    def warning(self, event: str, **values: object) -> None:
        """Log the event, or only count it if one was logged within the last minute."""
        with self._lock:
            if not self._lines.due():
                self._unlogged += 1
                return
            unlogged, self._unlogged = self._unlogged, 0
        if unlogged:
            values["unlogged"] = unlogged
        self._logger.warning(event, **values)


class Outage:
    """The outage of a server, shared by all threads that call the server.

    An outage ends with a call that succeeds when no call has failed for `settle` seconds: while
    some threads get through and others don't, it is one outage and not a hundred.
    """

    def __init__(self, server: str, logger: Logger, settle: float = 0.0) -> None:
        self._server = server
        self._logger = logger
        self._settle = settle
        self._lock = threading.Lock()
        self._since: float | None = None
        self._failed = 0.0

    def begin(self, error: BaseException) -> None:
        """Note a failed call; the first of an outage is logged."""
        with self._lock:
            self._failed = time.monotonic()
            if self._since is not None:
                return
            self._since = self._failed
        self._logger.error("unreachable", server=self._server, error=error)

    def end(self) -> None:
        """Note a call that succeeded; the end of an outage is logged with its seconds."""
        if self._since is None:  # without the lock, because each successful call comes here
            return
        with self._lock:
            if self._since is None or time.monotonic() < self._failed + self._settle:
                return
            seconds, self._since = time.monotonic() - self._since, None
        self._logger.warning("reachable again", server=self._server, seconds=f"{seconds:.1f}")

    @property
    def lasting(self) -> bool:
        """True from a failed call until end()."""
        return self._since is not None

"""The processors of a torture run. Workers load a copy of this file, beside their config.ini.

What they say of an address follows from its first word, if that is one of UNUSUAL; of all other
addresses, they say what `check` says.
"""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from processors import (
    ERROR,
    PROCESSED,
    Item,
    Later,
    Outcome,
    Processor,
    Stop,
    configured,
    failed,
    later,
    once,
    per_item,
    risky,
)
from processors.check import check_one

# Seconds: until an email that was put off is due again, and a stopped batch goes on; the least that
# is slept at once.
WAIT, STOPPED = 0.1, 0.5
SLEEP = 0.002


class Unusual(NamedTuple):
    """How often an address is handed out, and what it comes out with at last."""

    rounds: int
    outcome: Outcome


# The first words of unusual addresses. STOPS raises a Stop, by which its email is interrupted if
# its work must not be repeated.
STOPS = "stops"
UNUSUAL = {
    "later": Unusual(2, PROCESSED),
    "late": Unusual(3, failed("refused")),
    "never": Unusual(3, risky("unknown")),
    "raises": Unusual(1, ERROR),
    STOPS: Unusual(1, PROCESSED),
}


def answer(item: Item, *, stop: bool) -> Outcome | Later:
    """Return the outcome of an email in its round; an address with STOPS raises a Stop if `stop`.

    Raises RuntimeError for an address that is to fail with an error.
    """
    word = item.address.partition(".")[0]
    if word not in UNUSUAL:
        return check_one(item.address)
    if word == STOPS and stop:
        raise Stop("Nothing works for now", STOPPED)
    if word == "raises":
        raise RuntimeError
    if word == "never":
        return later("unknown", *[WAIT] * (UNUSUAL[word].rounds - 1))
    rounds, outcome = UNUSUAL[word]
    return later("unknown", WAIT) if item.round < rounds else outcome


def slowed(seconds: float) -> Callable[[], None]:
    """Return a function that takes so long on average, for any number of threads together."""
    every = max(1, round(SLEEP / seconds))
    numbers = itertools.count(1)

    def sleep() -> None:
        if next(numbers) % every == 0:
            time.sleep(max(SLEEP, seconds))

    return sleep


def caller(port: int) -> Callable[[str], None]:
    """Return a function that returns once the recording server has noted a key."""
    connections = threading.local()

    def call(key: str) -> None:
        if not hasattr(connections, "file"):
            connection = socket.create_connection(("127.0.0.1", port))
            connections.file = connection.makefile("rwb")
        connections.file.write(f"{key}\n".encode())
        connections.file.flush()
        if connections.file.readline() != b"\n":
            raise ConnectionError("the recording server has gone")

    return call


@configured
def repeatable(options: Mapping[str, Any]) -> Processor:
    """Make a processor that may get an email twice. It takes [torture_processor] seconds for one.

    Half of the times that it could, it raises a Stop.
    """
    sleep = slowed(float(options["seconds"]))

    @per_item
    def work(item: Item) -> Outcome | Later:
        sleep()
        return answer(item, stop=random.random() < 0.5)

    return work


@configured
def once_only(options: Mapping[str, Any]) -> Processor:
    """Make a processor that must not get an email twice: it calls the recording server.

    It takes [torture_processor] seconds for one; `port` is the server's.
    """
    sleep = slowed(float(options["seconds"]) / 2)
    call = caller(int(options["port"]))

    @per_item
    def work(item: Item) -> Outcome | Later:
        sleep()
        call(item.key)
        sleep()
        return answer(item, stop=item.round == 1)

    return once(work, window=int(options["window"]))

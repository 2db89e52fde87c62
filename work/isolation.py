"""Processing emails in a child process, for those of which one may kill whoever processes it.

A chunk whose turns keep dying has an email that crashes the processor (a segmentation fault, all
memory used up) or on which it never returns. Here the child dies instead of the worker. It handles
one email at a time and says each outcome at once, so that the culprit is the email whose outcome
is missing.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import processors
from processors import CRASHED, PROCESSED, TIMED_OUT, Findings, Outcome, ProcessorError
from runtime import child, logs

# Deaths in a row on one email until it counts as the culprit: one may be somebody else's doing.
DEATHS = 2
# Seconds that a child may take to load the processor, and at most between two calls of `alive`.
START_SECONDS = 60.0
ALIVE_SECONDS = 0.5
# What the child says before its first outcome, and when it has ended in good order.
_READY = b"ready"
_END = b"end"
# prctl(2): the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1

logger = logs.Logger("isolation")


class _TimeoutError(Exception):
    """The child has said nothing for too long."""


def process(
    name: str,
    addresses: list[str],
    *,
    options: Mapping[str, Any] | None = None,
    turn_seconds: float,
    limit: float,
    alive: Callable[[], None],
) -> Findings:
    """What is found of the first of the addresses: of one at least, for about `turn_seconds`.

    `name` and `options` are the processor's, as processors.load() takes them. An address that
    takes longer than `limit` seconds fails with `timed_out`, one that kills the child with
    `worker_crashed`. `alive` is called several times within `limit` as long as this lasts; what it
    raises ends it. Raises ProcessorError if no child gets as far as its first address.
    """
    findings = Findings()
    deadline = time.monotonic() + turn_seconds
    deaths = 0
    while findings.count < len(addresses) and (findings.count == 0 or time.monotonic() < deadline):
        before = findings.count
        try:
            with _child(name, options, addresses[before:], deadline - time.monotonic()) as said:
                died = not _read(said, findings, limit, alive)
        except _TimeoutError:
            findings.add(TIMED_OUT)
            continue
        if not died:
            continue
        deaths = deaths + 1 if findings.count == before else 1
        if deaths == DEATHS:
            findings.add(CRASHED)
            deaths = 0
    return findings


@contextmanager
def _child(
    name: str, options: Mapping[str, Any] | None, addresses: list[str], seconds: float
) -> Iterator[int]:
    """A child at work on the addresses: the descriptor to read from what it says."""
    with tempfile.TemporaryFile() as file:
        # Not on the command line, which everybody on the machine may read.
        file.write(json.dumps(dict(options or {})).encode() + b"\n")
        for address in addresses:
            file.write(json.dumps(address).encode() + b"\n")
        file.seek(0)
        said, says = os.pipe()
        try:
            process = child.start(
                "work.isolation", name, str(max(0.0, seconds)), *sys.path, stdin=file, stdout=says
            )
            os.close(says)
            try:
                yield said
            finally:
                process.kill()
                process.wait()
        finally:
            os.close(said)


def _read(said: int, findings: Findings, limit: float, alive: Callable[[], None]) -> bool:
    """Add what the child says until it ends; False if it didn't end in good order.

    Raises _TimeoutError if it is silent for `limit` seconds, and ProcessorError if it never begins.
    """
    ready, ended, rest = False, False, b""
    deadline = time.monotonic() + START_SECONDS
    poll = select.poll()  # select() ends at 1,024 files
    poll.register(said, select.POLLIN)
    while True:
        alive()
        if not poll.poll(1000 * min(ALIVE_SECONDS, limit / 4)):
            if time.monotonic() > deadline:
                if ready:
                    raise _TimeoutError
                raise ProcessorError(f"a child process takes over {START_SECONDS:.0f} s to start")
            continue
        heard = os.read(said, 1 << 16)
        if not heard:
            break
        *lines, rest = (rest + heard).split(b"\n")
        deadline = time.monotonic() + limit
        if lines and not ready:
            ready = lines.pop(0) == _READY
        if lines[-1:] == [_END]:
            lines.pop()
            ended = True
        for line in lines:
            findings.add(Outcome(*json.loads(line)))
    if not ready:
        raise ProcessorError("a child process ended as it started; the log says why")
    return ended


def main(name: str, seconds: float) -> None:
    """The child: read options and then addresses from standard input, one a line, and say what
    comes of each address."""
    if sys.platform == "linux":
        # A child on which the parent waits in vain must not outlive it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    said = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a processor prints is no outcome
    logs.setup()
    logged: set[type] = set()

    def on_error(error: Exception) -> None:
        if type(error) not in logged:
            logged.add(type(error))
            logger.error("processor failed", error=type(error).__name__, exc_info=error)

    processor = processors.load(name, json.loads(sys.stdin.readline()))
    os.write(said, _READY + b"\n")
    deadline = time.monotonic() + seconds
    for line in sys.stdin:
        findings = processors.process(processor, [json.loads(line)], deadline, on_error)
        outcome = findings.others[0][1] if findings.others else PROCESSED
        os.write(said, json.dumps(outcome).encode() + b"\n")
        if time.monotonic() > deadline:
            break
    os.write(said, _END + b"\n")


if __name__ == "__main__":
    _, processor_name, turn_seconds, *sys.path = sys.argv
    main(processor_name, float(turn_seconds))

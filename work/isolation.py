"""Isolation: process emails in a child process, because one of them may kill its process.

A chunk whose turns keep dying has an email that crashes the processor (by a segmentation fault or
by using up all memory) or on which it never returns. The child dies instead of the worker. It
processes one email at a time and writes each outcome at once, so that the first email without an
outcome is the culprit.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from subprocess import PIPE
from typing import Any

import processors
from processors import (
    CRASHED,
    PROCESSED,
    TIMED_OUT,
    Findings,
    Item,
    ProcessorError,
    ReasonError,
    Stop,
)
from processors.outcomes import from_values
from runtime import child, logs

# Deaths in a row on one email until it counts as the culprit; a single one may have another cause.
DEATHS = 2
# The limit of a child's time to load the processor.
START_SECONDS = 60.0
# The longest time between two calls of `alive`.
ALIVE_SECONDS = 0.5
# The child's first line, when the processor is loaded, and its last, if it has ended regularly.
_READY = b"ready"
_END = b"end"
# prctl(2): sets the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1

logger = logs.Logger("isolation")


def process(
    name: str,
    given: Sequence[Any],
    *,
    options: Mapping[str, Any],
    turn_seconds: float,
    limit: float,
    alive: Callable[[], None],
    on_error: Callable[[Exception], None],
) -> Findings:
    """Process addresses for about `turn_seconds`, one at least, and return the findings.

    `name` and `options` are the processor's, as processors.load() takes them.
    `given` has an address, or an Item, of each email.
    `limit` is the time in seconds after which an address fails with `timed_out`. An address that
    kills the child fails with `worker_crashed`.
    `alive` is called several times within `limit`; an error that it raises ends the processing.
    `on_error` is called for reasons that aren't allowed; the child logs all other errors. A Stop
    ends the processing.
    Raises ProcessorError if a child doesn't get as far as its first address.
    """
    findings = Findings()
    deadline = time.monotonic() + turn_seconds
    deaths = 0
    while findings.count < len(given) and (findings.count == 0 or time.monotonic() < deadline):
        before = findings.count
        with _child(name, options, given[before:], deadline - time.monotonic()) as pipe:
            died = _read(pipe, findings, limit, alive, on_error)
        if findings.stop is not None:
            break
        if not died:
            continue
        deaths = deaths + 1 if findings.count == before else 1
        if deaths == DEATHS:
            findings.add(CRASHED)
            deaths = 0
    return findings


@contextmanager
def _child(
    name: str, options: Mapping[str, Any], given: Sequence[Any], seconds: float
) -> Iterator[int]:
    """Start a child on the emails, and yield the descriptor from which to read its lines."""
    with tempfile.TemporaryFile() as file:
        # The options aren't on the command line, which everybody on the machine may read.
        for value in (dict(options), *given):
            file.write(json.dumps(value).encode() + b"\n")
        file.seek(0)
        arguments = (name, str(max(0.0, seconds)), *sys.path)
        with child.start("work.isolation", *arguments, stdin=file, stdout=PIPE) as process:
            assert process.stdout is not None  # noqa: S101
            try:
                yield process.stdout.fileno()
            finally:
                process.kill()


def _read(
    pipe: int,
    findings: Findings,
    limit: float,
    alive: Callable[[], None],
    on_error: Callable[[Exception], None],
) -> bool:
    """Add the child's outcomes until it ends, and return whether it died too early.

    An address without an outcome after `limit` seconds fails, and no more is read. A child that
    has no more outcomes gets as long to exit. Raises ProcessorError if the child doesn't load the
    processor.
    """
    ready, ended, rest = False, False, b""
    deadline = time.monotonic() + START_SECONDS
    poll = select.poll()  # select() takes no descriptor above 1,023
    poll.register(pipe, select.POLLIN)
    while True:
        alive()
        if not poll.poll(1000 * min(ALIVE_SECONDS, limit / 4)):
            if time.monotonic() > deadline:
                if not ready:
                    text = f"a child process takes over {START_SECONDS:.0f} s to start"
                    raise ProcessorError(text)
                if not ended:
                    findings.add(TIMED_OUT)
                return False
            continue
        data = os.read(pipe, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        deadline = time.monotonic() + limit
        if lines and not ready:
            ready = lines.pop(0) == _READY
        if lines[-1:] == [_END]:
            lines.pop()
            ended = True
        for line in lines:
            answer = json.loads(line)
            if isinstance(answer, str):
                on_error(ReasonError(answer))
            elif isinstance(answer, dict):
                findings.stop = Stop(**answer)
            else:
                findings.add(from_values(answer))
    if not ready:
        raise ProcessorError("a child process ended as it started; the log says why")
    return not ended


def main(name: str, seconds: float) -> None:
    """Run the child.

    Reads options, and then emails, one a line, from standard input, and writes the outcome of
    each address to standard output.
    """
    if sys.platform == "linux":
        # A child that hangs must not outlive its parent.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a processor may print
    logs.setup()
    logged: set[type] = set()

    def on_error(error: Exception) -> None:
        if isinstance(error, ReasonError):
            os.write(output, json.dumps(str(error)).encode() + b"\n")
        elif type(error) not in logged:
            logged.add(type(error))
            logger.error("processor failed", error=type(error).__name__, exc_info=error)

    processor = processors.load(name, json.loads(sys.stdin.readline()))
    os.write(output, _READY + b"\n")
    deadline = time.monotonic() + seconds
    for line in sys.stdin:
        value = json.loads(line)
        given = Item(*value) if isinstance(value, list) else value
        findings = processors.process(processor, [given], deadline, on_error)
        if findings.stop is not None:
            stop = {"reason": findings.stop.reason, "seconds": findings.stop.seconds}
            os.write(output, json.dumps(stop).encode() + b"\n")
            break
        outcome = findings.others[0][1] if findings.others else PROCESSED
        os.write(output, json.dumps(outcome).encode() + b"\n")
        if time.monotonic() > deadline:
            break
    os.write(output, _END + b"\n")


if __name__ == "__main__":
    _, processor_name, turn_seconds, *sys.path = sys.argv
    main(processor_name, float(turn_seconds))

"""Processors: functions that give each email an outcome.

A processor takes an iterable of addresses and lazily yields one Outcome for each, in order. It
knows neither database nor Redis. It is called for each turn, from several threads at once, and the
same address may come twice, because a turn that dies is repeated. Instead of an Outcome, it may
yield later(): the email stays pending, and is processed again in a further round. It may raise
Stop: nothing will work for now. The batch pauses itself then, and the email stays pending.

A fast processor may have an attribute `of_lines` too: a function that takes a text with one address
a line and returns a mapping of line numbers, counted from 0, to outcomes; a line left out is
PROCESSED. It is called instead of the processor, with about AT_ONCE characters, or as many as the
processor's attribute `at_once` says. If it raises an error, the processor is called for the turn.

A processor that looks domains up in the DNS may have an attribute `lookups_off`, too: a text that
says why it doesn't; and `hindrance`, a text that says why emails wait at this moment, such as that
no nameserver answers. Both are empty otherwise, and the pages show them.

A processor that decides something when it is loaded may have an attribute `isolated_options`: the
settings with which it decides the same in a child process (see work/isolation.py), or None.

The decorator `one_by_one` makes a processor of a function that takes a single address, and
`per_item` of one that takes an Item. The decorator `once` marks a processor whose work must not be
repeated. The decorator `configured` marks a function that takes the settings in its own section of
config.ini and returns a processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import islice
from typing import Any, NamedTuple

from processors.loading import Declared, Factory, configured, declared, load, takes_columns
from processors.options import Option, OptionError, parse_options
from processors.outcomes import (
    CRASHED,
    ERROR,
    INTERRUPTED,
    PROCESSED,
    TIMED_OUT,
    Later,
    Outcome,
    ProcessorError,
    ReasonError,
    Stop,
    checked,
    failed,
    later,
    risky,
)

__all__ = [
    "CRASHED",
    "ERROR",
    "INTERRUPTED",
    "PROCESSED",
    "TIMED_OUT",
    "Declared",
    "Factory",
    "Findings",
    "Item",
    "Later",
    "Option",
    "OptionError",
    "Outcome",
    "Processor",
    "ProcessorError",
    "ReasonError",
    "Stop",
    "accepted_or_error",
    "as_lines",
    "checked",
    "configured",
    "declared",
    "failed",
    "is_once",
    "later",
    "load",
    "once",
    "one_by_one",
    "parse_options",
    "per_item",
    "process",
    "process_lines",
    "risky",
    "takes_columns",
    "takes_items",
]

# Takes addresses, or Items if its attribute `takes_items` is true.
Processor = Callable[[Iterable[Any]], Iterator[Outcome | Later]]

# Characters that `of_lines` gets at once; the line that passes this limit is included.
AT_ONCE = 24_000


def accepted_or_error(outcome: object, on_error: Callable[[Exception], None]) -> Outcome | Later:
    """Return the outcome, or ERROR if its reason isn't allowed, after telling `on_error`.

    The processor isn't interrupted, because its other outcomes may be right.
    """
    try:
        return checked(outcome)
    except ReasonError as error:
        on_error(error)
        return ERROR


@dataclass
class Findings:
    """The outcomes of the first `count` addresses.

    `others` has (position from 0, outcome) of each outcome that has a reason or is a
    Later, in order.
    `stop` is what the processor raised instead of the next outcome, if it was a Stop.
    """

    count: int = 0
    others: list[tuple[int, Outcome | Later]] = field(default_factory=list)
    stop: Stop | None = None

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes with a reason."""
        return [outcome for _, outcome in self.others if isinstance(outcome, Outcome)]

    @property
    def later(self) -> list[Later]:
        """What was said of the emails that are to be processed again."""
        return [each for _, each in self.others if isinstance(each, Later)]

    def settled(self, rounds: int, over: bool) -> Findings:
        """Return the findings after this many rounds, from 1.

        A Later becomes an outcome with its reason if the processor asked for no further round. If
        `over` is true, this was the last round, and each of them does.
        """

        def settle(outcome: Outcome | Later) -> Outcome | Later:
            if isinstance(outcome, Later) and (over or outcome.wait(rounds) is None):
                return Outcome("processed", outcome.reason)
            return outcome

        others = [(at, settle(outcome)) for at, outcome in self.others]
        return Findings(self.count, others, self.stop)

    def add(self, outcome: Outcome | Later) -> None:
        """Add the outcome of the next address."""
        if outcome.reason is not None:
            self.others.append((self.count, outcome))
        self.count += 1


def process(
    processor: Processor,
    addresses: Sequence[Any],
    deadline: float,
    on_error: Callable[[Exception], None],
) -> Findings:
    """Process addresses until the `deadline` (monotonic), one at least, and return the findings.

    A Stop that the processor raises ends the processing, and the email whose outcome was due stays
    without one. If it raises another exception, that email fails, `on_error` is called, and the
    processor is called again for the addresses after it. An email whose reason isn't allowed fails,
    too, and `on_error` is called with a ReasonError.
    """
    findings = Findings()
    while findings.count < len(addresses):
        start = findings.count
        try:
            outcomes = processor(iter(addresses[start:]))
            for outcome in islice(outcomes, len(addresses) - start):
                if outcome is PROCESSED:
                    findings.count += 1  # as add() does; a call for each email would be slow
                else:
                    findings.add(accepted_or_error(outcome, on_error))
                if time.monotonic() > deadline:
                    return findings
            if findings.count < len(addresses):
                raise ProcessorError("the processor yielded fewer outcomes than it got addresses")
        except Stop as stop:
            findings.stop = stop
            break
        except Exception as error:
            on_error(error)
            findings.add(ERROR)
            if time.monotonic() > deadline:
                break
    return findings


def as_lines(addresses: Sequence[str]) -> str | None:
    """Return the addresses, one a line; None if an address contains a line end."""
    text = "\n".join(addresses)
    return text if text.count("\n") == len(addresses) - 1 else None


def process_lines(
    processor: Any, text: str, deadline: float, on_error: Callable[[Exception], None]
) -> Findings:
    """Process addresses, one a line, like process(), by the processor's attribute `of_lines`.

    `on_error` is called for reasons that aren't allowed. A Stop ends the processing; the lines that
    `of_lines` was called with have no outcome then. Raises ProcessorError and other errors of
    `of_lines`.
    """
    findings = Findings()
    start = 0
    while start <= len(text):
        end = text.find("\n", start + getattr(processor, "at_once", AT_ONCE))
        lines = text[start : end if end >= 0 else len(text)]
        count = lines.count("\n") + 1
        try:
            outcomes = processor.of_lines(lines)
        except Stop as stop:
            findings.stop = stop
            break
        for line, outcome in sorted(outcomes.items()):
            if not 0 <= line < count:
                raise ProcessorError(f"an outcome for line {line} of {count}, counted from 0")
            accepted = accepted_or_error(outcome, on_error)
            if accepted.reason is not None:
                findings.others.append((findings.count + line, accepted))
        findings.count += count
        if time.monotonic() > deadline:
            break
        start += len(lines) + 1
    return findings


def one_by_one(function: Callable[[Any], str | Outcome | Later | None]) -> Processor:
    """Make a processor of a function that takes one address.

    The function returns None if the address is fine, or the reason for a failure, or an Outcome,
    or later().
    """

    @wraps(function)
    def process(addresses: Iterable[str]) -> Iterator[Outcome | Later]:
        for address in addresses:
            result = function(address)
            if result is None:
                yield PROCESSED
            else:
                yield result if isinstance(result, (Outcome, Later)) else failed(result)

    return process


class Item(NamedTuple):
    """An email as a processor gets it that needs more than the address.

    `key` is the name of this attempt, such as `b7-e123-r1` for batch, email and round. A receiver
    can recognize by it what it gets again: only if a person asks for that, or if the processor's
    work may be repeated.
    `round` counts from 1 how often the email is processed; each retry and each later() adds one.
    `cells` has cells of its row by the names of their columns: those that the processor takes, or
    the upload chose.
    `options` has the values of the processor's options, for the email's batch.
    """

    address: str
    key: str
    round: int
    cells: Mapping[str, str] = {}
    options: Mapping[str, Any] = {}


def per_item(function: Callable[[Item], str | Outcome | Later | None]) -> Processor:
    """Make a processor of a function that takes an Item; it returns what one_by_one() allows."""
    process = one_by_one(function)
    process.takes_items = True  # type: ignore[attr-defined]
    return process


def once(processor: Processor, *, window: int = 1) -> Processor:
    """Mark a processor whose work must not be repeated, because it costs money or sends something.

    An email is noted on the disk before the processor gets it. If no outcome follows, because the
    worker dies or the processor hangs, the email comes out as `interrupted`: its work may have been
    done. It is never processed again, unless a person asks for exactly that.
    window: so many emails are noted at once, for a processor that takes them together. A kill
    interrupts so many at most, for each thread. Raises ValueError if it is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be 1 or more, not {window}")
    processor.once, processor.window = True, window  # type: ignore[attr-defined]
    return processor


def takes_items(processor: Processor) -> bool:
    """Return whether the processor takes Items instead of addresses."""
    return getattr(processor, "takes_items", False)


def is_once(processor: Processor) -> bool:
    """Return whether the processor's work must not be repeated."""
    return getattr(processor, "once", False)

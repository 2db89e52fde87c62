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

The decorator `one_by_one` makes a processor of a function that takes a single address, `per_item`
of one that takes an Item, and `in_windows` of one that takes several Items at once. The decorator
`once` marks a processor whose work must not be repeated, `takes_columns` one that takes cells of
the rows. The decorator `configured` marks a function that takes the settings in its own section of
config.ini and returns a processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from processors.items import (
    Item,
    Processor,
    Result,
    in_windows,
    is_once,
    once,
    one_by_one,
    per_item,
    takes_items,
)
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
    answered,
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
    "Result",
    "Stop",
    "accepted_or_error",
    "answered",
    "as_lines",
    "checked",
    "configured",
    "declared",
    "failed",
    "in_windows",
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

# Characters that `of_lines` gets at once; the line that passes this limit is included.
AT_ONCE = 24_000


def accepted_or_error(outcome: object, on_error: Callable[[Exception], None]) -> Outcome | Later:
    """Return the outcome, or ERROR if its reason or an answer isn't allowed, and tell `on_error`.

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

    `others` has (position from 0, outcome) of each that isn't PROCESSED: those with a reason or
    with answers, and each Later; in order.
    `stop` is what the processor raised instead of the next outcome, if it was a Stop.
    """

    count: int = 0
    others: list[tuple[int, Outcome | Later]] = field(default_factory=list)
    stop: Stop | None = None

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes with a reason, or with answers."""
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
        if outcome != PROCESSED:
            self.others.append((self.count, outcome))
        self.count += 1


def process(
    processor: Processor,
    addresses: Sequence[Any],
    deadline: float,
    on_error: Callable[[Exception], None],
) -> Findings:
    """Process addresses until the `deadline` (monotonic), a window at least; return the findings.

    A Stop that the processor raises ends the processing, and the email whose outcome was due stays
    without one. If it raises another exception, that email fails, `on_error` is called, and the
    processor is called again for the addresses after it. An email whose reason isn't allowed fails,
    too, and `on_error` is called with a ReasonError.
    """
    findings = Findings()
    # Of a window, all outcomes are there when the first one comes.
    window = getattr(processor, "window", 1)
    while findings.count < len(addresses):
        start = findings.count
        try:
            outcomes = processor(iter(addresses[start:]))
            for outcome in islice(outcomes, len(addresses) - start):
                if outcome is PROCESSED:
                    findings.count += 1  # as add() does; a call for each email would be slow
                else:
                    findings.add(accepted_or_error(outcome, on_error))
                if time.monotonic() > deadline and (findings.count - start) % window == 0:
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
            if accepted != PROCESSED:
                findings.others.append((findings.count + line, accepted))
        findings.count += count
        if time.monotonic() > deadline:
            break
        start += len(lines) + 1
    return findings

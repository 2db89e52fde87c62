"""Runs processors: from emails to Findings, until a deadline."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from processors.computing import computing
from processors.items import Processor, WithError, outcomes_of
from processors.outcomes import (
    ERROR,
    INTERRUPTED,
    PROCESSED,
    Later,
    Outcome,
    ProcessorError,
    ReasonError,
    Stop,
    checked,
)

# Characters that `of_lines` gets at once; the line that passes this limit is included.
AT_ONCE = 24_000


def accepted_or_error(outcome: object, on_error: Callable[[Exception], None]) -> Outcome | Later:
    """Return the outcome, or ERROR if its reason or its answers aren't allowed.

    `on_error` is told of what isn't allowed. The processor isn't interrupted, because its other
    outcomes may be right.
    """
    if type(outcome) is WithError:
        if outcome.error is not None:
            on_error(outcome.error)
        outcome = outcome.outcome
        if outcome is INTERRUPTED:  # checked() accepts it from nobody else
            return INTERRUPTED
    try:
        return checked(outcome)
    except ReasonError as error:
        on_error(error)
        return ERROR


@dataclass
class Findings:
    """The outcomes of the first `count` addresses.

    `others` has (position from 0, outcome) of each outcome that has a reason or answers, or is a
    Later, in order.
    `stop` is what the processor raised instead of the next outcome, if it was a Stop.
    """

    count: int = 0
    others: list[tuple[int, Outcome | Later]] = field(default_factory=list)
    stop: Stop | None = None

    @cached_property
    def tally(self) -> list[tuple[Outcome | Later, int]]:
        """The distinct objects among `others`, in order, and how many addresses have each.

        Computed at the first read and kept, so nothing may be added after it.
        """
        # With the check, thousands of addresses share a few objects, so callers count over these.
        # They are told apart by id, because answers have no hash.
        others = [outcome for _, outcome in self.others]
        by_id = {id(each): each for each in others}
        return [(by_id[key], number) for key, number in Counter(map(id, others)).items()]

    @property
    def outcomes(self) -> list[tuple[Outcome, int]]:
        """Each distinct outcome object with a reason or answers, and how many addresses have it."""
        return [(each, number) for each, number in self.tally if isinstance(each, Outcome)]

    @property
    def listed(self) -> list[Outcome | Later]:
        """The outcome of each address, in order."""
        others = dict(self.others)
        return [others.get(position, PROCESSED) for position in range(self.count)]

    @property
    def later(self) -> list[tuple[Later, int]]:
        """Each distinct Later object, and how many emails it was said of."""
        return [(each, number) for each, number in self.tally if isinstance(each, Later)]

    @property
    def waiting(self) -> int:
        """How many emails are to be processed again."""
        return sum(number for _, number in self.later)

    def settled(self, rounds: int, over: bool) -> Findings:
        """Return the findings after this many rounds, from 1.

        A Later becomes an outcome with its reason if the processor asked for no further round. If
        `over` is true, this was the last round, and each of them does.
        """

        def settle(outcome: Outcome | Later) -> Outcome | Later:
            if isinstance(outcome, Later) and (over or outcome.wait(rounds) is None):
                return Outcome("processed", outcome.reason)
            return outcome

        settled = {id(outcome): settle(outcome) for outcome, _ in self.tally}
        others = [(at, settled[id(outcome)]) for at, outcome in self.others]
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
    most_others: float = math.inf,
) -> Findings:
    """Process addresses until the `deadline` (monotonic), one at least, and return the findings.

    A Stop that the processor raises ends the processing, and the email whose outcome was due stays
    without one. If it raises another exception, that email fails, `on_error` is called, and the
    processor is called again for the addresses after it. An email whose reason or answers aren't
    allowed fails, too, and `on_error` is called with a ReasonError.
    most_others: the processing also ends once so many outcomes are not PROCESSED.
    """
    findings = Findings()
    border = getattr(processor, "border", 1)
    while findings.count < len(addresses):
        start = findings.count
        try:
            # No slice: after each of many errors, it would copy all that is left.
            rest = map(addresses.__getitem__, range(start, len(addresses)))
            outcomes = outcomes_of(processor, rest if start else iter(addresses))
            for outcome in islice(outcomes, len(addresses) - start):
                if outcome is PROCESSED:
                    findings.count += 1  # as add() does; a call for each email would be slow
                else:
                    findings.add(accepted_or_error(outcome, on_error))
                    if len(findings.others) >= most_others:
                        deadline = -math.inf  # as if it had passed
                if time.monotonic() > deadline and (findings.count - start) % border == 0:
                    return findings
            if findings.count < len(addresses):
                raise ProcessorError("the processor yielded fewer outcomes than it got addresses")
        except Stop as stop:
            findings.stop = stop
            break
        except Exception as error:
            on_error(error)
            findings.add(ERROR)
            if time.monotonic() > deadline or len(findings.others) >= most_others:
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

    Waits first while another thread computes; the `deadline` is put off by that first wait.
    `on_error` is called for reasons that aren't allowed. A Stop ends the processing; the lines that
    `of_lines` was called with have no outcome then. Raises ProcessorError and other errors of
    `of_lines`.
    """
    findings = Findings()
    start = 0
    asked = time.monotonic()
    try:
        with computing():
            deadline += time.monotonic() - asked
            while start <= len(text):
                # Read before each call, because the check changes it during a turn.
                end = text.find("\n", start + getattr(processor, "at_once", AT_ONCE))
                lines = text[start : end if end >= 0 else len(text)]
                _add_lines(findings, processor.of_lines(lines), lines.count("\n") + 1, on_error)
                if time.monotonic() > deadline:
                    break
                start += len(lines) + 1
    except Stop as stop:
        findings.stop = stop
    return findings


def _add_lines(
    findings: Findings,
    outcomes: Mapping[int, Any],
    count: int,
    on_error: Callable[[Exception], None],
) -> None:
    """Add to the findings what `of_lines` returned for the next `count` addresses."""
    # Most outcomes are the same few objects, and each object is looked at once.
    different = {id(outcome): outcome for outcome in outcomes.values()}
    accepted = {key: accepted_or_error(each, on_error) for key, each in different.items()}
    plain = {key for key, each in accepted.items() if each == PROCESSED}
    places = sorted(outcomes)
    for line in (*places[:1], *places[-1:]):
        if not 0 <= line < count:
            raise ProcessorError(f"an outcome for line {line} of {count}, counted from 0")
    findings.others += [
        (findings.count + line, accepted[key])
        for line in places
        if (key := id(outcomes[line])) not in plain
    ]
    findings.count += count

"""Hands emails out to a processor whose work must not be repeated: each is noted before.

The processor gets an iterator. When it takes the next email, that is noted first, with the outcomes
so far, so that it is known to have been handed out whatever happens then. With a window, so many
emails are noted at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from processors import ERROR, INTERRUPTED, Findings, ProcessorError, Stop, accepted_or_error

# Notes that the first emails are handed out, and the findings so far; returns whether they may be.
Note = Callable[[int, Findings], bool]


class _HandOut:
    """The emails of a turn: `count` of them have been taken, and some more may be noted."""

    def __init__(self, given: Sequence[Any], window: int, deadline: float, note: Note) -> None:
        self._given = given
        self._window = window
        self._deadline = deadline
        self._note = note
        self._noted = 0
        self.count = 0
        self.is_over = False
        self.findings = Findings()

    def __iter__(self) -> Iterator[Any]:
        while self._may_go_on():
            self.count += 1
            yield self._given[self.count - 1]

    def _may_go_on(self) -> bool:
        """Note the next window if need be; return whether there is another email to hand out."""
        if self.count == self._noted:
            end = min(self.count + self._window, len(self._given))
            in_time = not self.count or time.monotonic() <= self._deadline
            if end > self.count and in_time and self._note(end, self.findings):
                self._noted = end
        self.is_over = self.count == self._noted
        return not self.is_over

    def fail(self) -> None:
        """Give the email that is due an error, and interrupt all others that have been taken."""
        if self.findings.count == self.count and self._may_go_on():
            self.count += 1  # the processor fails before it takes an email
        if self.findings.count < self.count:
            self.findings.add(ERROR)
        self._interrupt()

    def stop(self, stop: Stop) -> None:
        """End the turn; interrupt all that have been taken, and take back what is only noted."""
        self._interrupt()
        self.findings.stop = stop
        self.is_over = True
        if self.count < self._noted:
            self._note(self.count, self.findings)

    def _interrupt(self) -> None:
        while self.findings.count < self.count:
            self.findings.add(INTERRUPTED)


def process(
    processor: Callable[[Iterator[Any]], Iterator[Any]],
    given: Sequence[Any],
    deadline: float,
    note: Note,
    on_error: Callable[[Exception], None],
) -> Findings:
    """Process emails until the `deadline` (monotonic), a window at least, and return the findings.

    There are none if the first emails may not be handed out. If the processor raises a Stop, all
    that it has taken without an outcome are interrupted. If it raises another exception,
    the email whose outcome was due fails, `on_error` is called, and the processor is called again
    for the emails after those that it has taken; of these, all without an outcome are interrupted.
    """
    hand_out = _HandOut(given, getattr(processor, "window", 1), deadline, note)
    findings = hand_out.findings
    while not hand_out.is_over:
        try:
            for outcome in processor(iter(hand_out)):
                if findings.count == hand_out.count:
                    raise ProcessorError("the processor yielded more outcomes than it took emails")
                findings.add(accepted_or_error(outcome, on_error))
            if findings.count < hand_out.count or not hand_out.is_over:
                raise ProcessorError("the processor yielded fewer outcomes than it got emails")
        except Stop as stop:
            hand_out.stop(stop)
        except Exception as error:
            on_error(error)
            hand_out.fail()
    return findings

"""Hands emails out to a processor whose work must not be repeated, and notes each email first.

The processor gets an iterator. When it takes the next email, that is noted first, with the outcomes
so far. So it is known to have been handed out, whatever happens then. With a window, so many emails
are noted at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from processors import (
    ERROR,
    INTERRUPTED,
    Findings,
    Later,
    Outcome,
    Processor,
    ProcessorError,
    Stop,
    accepted_or_error,
)
from processors.items import outcomes_of

# Notes that the first emails are handed out, and the findings so far; returns whether they may be.
Note = Callable[[int, Findings], bool]

# A turn ends after so many outcomes with a reason or answers, or so many characters of answers,
# because each note has all of them.
MAX_OTHERS, MAX_CHARACTERS = 200, 100_000

_MORE = "the processor yielded more outcomes than it took emails"
_FEWER = "the processor yielded fewer outcomes than it got emails"


class _HandOut:
    """The emails of a turn; the processor has taken `taken` of them."""

    def __init__(
        self, given: Sequence[Any], window: int, border: int, deadline: float, note: Note
    ) -> None:
        self._given = given
        self._window = window
        # The turn ends only after a multiple of so many, counted from the beginning of a call.
        self._border = border
        self._begun = 0
        self._deadline = deadline
        self._note = note
        self._noted = 0
        self._refused = False
        # The number of the processor's call under way. The iterator of an earlier call, which a
        # thread may have kept, hands nothing out. The lock is held while an email is taken, and
        # while the call is ended.
        self._call = 0
        self._lock = threading.Lock()
        self.taken = 0
        self.findings = Findings()
        # The characters of all answers in the findings.
        self._characters = 0
        # What the note raised. The processor, through which it goes, must not take it for its own.
        self.broken: Exception | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more may be handed out."""
        if self._refused or self.findings.stop is not None or self.taken == len(self._given):
            return True
        return (self.taken - self._begun) % self._border == 0 and (
            (self.taken > 0 and time.monotonic() > self._deadline)
            or len(self.findings.others) >= MAX_OTHERS
            or self._characters >= MAX_CHARACTERS
        )

    @contextlib.contextmanager
    def call(self) -> Iterator[Iterator[Any]]:
        """Yield an iterator of the emails, which ends with the block, in other threads, too."""
        self._begun = self.taken
        try:
            yield self._emails(self._call)
        finally:
            with self._lock:
                self._call += 1

    def _emails(self, call: int) -> Iterator[Any]:
        while number := self._take(call):
            yield self._given[number - 1]

    def _take(self, call: int) -> int:
        """Note and take the next email; return its number from 1, or 0 if there is none."""
        with self._lock:
            if call != self._call or not self._note_next():
                return 0
            self.taken += 1
            return self.taken

    def _note_next(self) -> bool:
        """Note the next email, unless it is noted; return whether it may be handed out."""
        if self.is_over:
            return False
        if self.taken == self._noted:
            end = min(self.taken + self._window, len(self._given))
            try:
                self._refused = not self._note(end, self.findings)
            except Exception as error:
                self.broken = error
                raise
            if not self._refused:
                self._noted = end
        return not self._refused

    def add(self, outcome: Outcome | Later) -> None:
        """Add the outcome of the next email that was taken."""
        self.findings.add(outcome)
        if isinstance(outcome, Outcome) and outcome.answers:
            self._characters += sum(map(len, chain(*outcome.answers.items())))

    def fail(self) -> None:
        """Give the email that is due an error, and interrupt all others that have been taken."""
        if self.findings.count == self.taken and self._note_next():
            self.taken += 1  # the processor fails before it takes an email
        if self.findings.count < self.taken:
            self.findings.add(ERROR)
        self.interrupt()

    def interrupt(self) -> None:
        """Interrupt all emails that have been taken and have no outcome."""
        while self.findings.count < self.taken:
            self.findings.add(INTERRUPTED)

    def close(self) -> None:
        """Note that no more is handed out than has been taken, and all outcomes.

        The journal is all that is left of the turn if it can't be committed, because the worker
        dies or the batch was cancelled.
        """
        if self._noted:
            self._note(self.taken, self.findings)


def process(
    processor: Processor,
    given: Sequence[Any],
    deadline: float,
    note: Note,
    on_error: Callable[[Exception], None],
) -> Findings:
    """Process emails until the `deadline` (monotonic), one at least, and return the findings.

    There are none if the first email may not be handed out. If the processor raises a Stop, all
    that it has taken without an outcome are interrupted. If it raises another exception, the email
    whose outcome was due fails, `on_error` is called, and the processor is called again for the
    emails after those that it has taken; of these, all without an outcome are interrupted.
    Raises what `note` raises, also if the processor catches it.
    """
    window, border = getattr(processor, "window", 1), getattr(processor, "border", 1)
    hand_out = _HandOut(given, window, border, deadline, note)
    findings = hand_out.findings
    while not hand_out.is_over:
        try:
            with hand_out.call() as emails:
                for outcome in outcomes_of(processor, emails):
                    if findings.count == hand_out.taken:
                        raise ProcessorError(_MORE)
                    hand_out.add(accepted_or_error(outcome, on_error))
            if findings.count < hand_out.taken or not hand_out.is_over:
                raise ProcessorError(_FEWER)
        except Stop as stop:
            hand_out.interrupt()
            findings.stop = stop
        except Exception as error:
            if hand_out.broken is None:
                on_error(error)
                hand_out.fail()
        if hand_out.broken is not None:
            raise hand_out.broken
    hand_out.close()
    return findings

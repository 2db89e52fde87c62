"""What may become of an email, and how often it may have been handed out for that.

The calls are known only of work that must not be repeated.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from torture.expected import Row

Place = tuple[int, int]  # the ids of a batch and of an email in it
Outcome = tuple[str, str | None]  # status and reason

PENDING: Outcome = ("pending", None)
INTERRUPTED: Outcome = ("processed", "interrupted")
FINISHED: Outcome = ("processed", "unknown")  # the reason that the processors give with later()
_KEY = re.compile(r"b([0-9]+)-e([0-9]+)-r([0-9]+)")


def parse_key(key: str) -> tuple[int, int, int] | None:
    """Return the batch, the email and the round that a key names; None if it names no email."""
    found = _KEY.fullmatch(key)
    return found and (int(found[1]), int(found[2]), int(found[3]))


class Calls:
    """All calls of a run.

    `again` has the emails that somebody had handed out again, and the rounds in which they were
    called before that.
    """

    def __init__(self, keys: Iterable[str], again: Mapping[Place, set[int]] | None = None) -> None:
        self.again = again or {}
        self.total = 0
        self._rounds: defaultdict[Place, Counter[int]] = defaultdict(Counter)
        # Keys that name no email.
        self.strange: list[str] = []
        for key in keys:
            self.total += 1
            parsed = parse_key(key)
            if parsed is None:
                self.strange.append(key)
            else:
                batch_id, number, of_round = parsed
                self._rounds[batch_id, number][of_round] += 1

    @property
    def repeated(self) -> list[str]:
        """The keys that came more than once."""
        return [
            f"b{batch_id}-e{number}-r{each}"
            for (batch_id, number), rounds in self._rounds.items()
            for each, times in rounds.items()
            if times > 1
        ]

    def rounds(self, place: Place) -> set[int]:
        """Return the rounds in which an email was called."""
        return set(self._rounds.get(place, ()))

    def others(self, known: Iterable[Place]) -> set[Place]:
        """Return what was called and isn't among these."""
        return self._rounds.keys() - set(known)

    def wrong(self, place: Place, times: range) -> str | None:
        """Return what is wrong with the calls of an email, which is to have been called so often.

        Its rounds are called in order, none twice and none left out.
        """
        called = self.rounds(place)
        if place in self.again:
            called -= self.again[place]
            earlier = max(self.again[place], default=0)
            first = min(called, default=earlier)
            if first <= earlier or called != set(range(first, first + len(called))):
                return f"was handed out again, and called in {sorted(called)} after {earlier}"
            return None
        if called != set(range(1, len(called) + 1)):
            return f"was called in the rounds {sorted(called)}"
        if len(called) not in times:
            due = " or ".join(map(str, times))
            return f"was called in {len(called)} rounds, not in {due}"
        return None


def allowed(
    row: Row, place: Place, asked: set[str], calls: Calls | None, over: int | None
) -> dict[Outcome, range]:
    """Return the outcomes that an email may have, and how often it may have been called for each.

    `asked` is what people asked for its batch. `over` is set if that was cancelled: so many rounds
    of the email were over.

    An email has one call for each of its rounds, with these exceptions:

    - If somebody finished its batch while it waited, the rounds after that have no calls.
    - If somebody cancelled its batch, neither have they: it is pending, or was put off in the turn
      under way.
    - If it was interrupted, neither have they, and perhaps not the round itself: the worker may
      have been killed before the call or after it. A Stop interrupts in the first round.
    """
    due = row.status, row.reason
    if calls is not None and place in calls.again:
        return {due: range(0)}
    outcomes: dict[Outcome, range] = {}
    if over is not None:
        outcomes[PENDING] = range(over, over + 1)
    if calls is not None:
        outcomes[INTERRUPTED] = range(row.rounds + 1)
    ended = "finish" in asked or (calls is not None and "cancel" in asked)
    if ended and row.rounds > 1:
        outcomes[FINISHED] = range(1, row.rounds + (due == FINISHED))
    if calls is None or not row.stops:
        outcomes.setdefault(due, range(row.rounds, row.rounds + 1))
    return outcomes

"""How fast the emails of batches with a rate were handed out."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torture.calls import parse_key

# The emails a minute that some batches may have, and how many emails these have.
PER_MINUTE = 1800
RATED_SIZES = range(60, 600)
# Calls are counted within so many seconds. A rate allows a second's worth more at once; a turn
# that was stopped calls later than it was given its emails, within its second; and a PostgreSQL
# that is killed forgets what it gave out in up to 0.6 s, three times the delay of its log writer.
SECONDS, MORE_SECONDS = 10.0, 5.0


class Pace(NamedTuple):
    """The most calls of a batch within SECONDS, and how many there may be."""

    batch_id: int
    calls: int
    most: int


def paces(
    calls: Iterable[tuple[float, str]], rates: Mapping[int, int], in_flight: int
) -> list[Pace]:
    """Return the pace of each batch with a rate.

    calls: the time and the key of each.
    rates: the emails a minute of each such batch.
    in_flight: emails that may be under way at once, whenever they were given out.
    """
    times = defaultdict(list)
    for at, key in calls:
        parsed = parse_key(key)
        if parsed is not None:
            times[parsed[0]].append(at)
    span = SECONDS + MORE_SECONDS
    return [
        Pace(batch_id, _fastest(sorted(times[batch_id])), round(rate / 60 * span) + in_flight)
        for batch_id, rate in rates.items()
    ]


def _fastest(times: Sequence[float]) -> int:
    """Return the most of these times, which are sorted, within SECONDS."""
    counts = (bisect_right(times, at + SECONDS) - place for place, at in enumerate(times))
    return max(counts, default=0)

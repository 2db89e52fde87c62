"""What is known of many domains, in little memory: about 25 bytes for each."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

# The tables of a cache, of which a name's hash selects one. Enlarging one takes milliseconds only.
TABLES = 64
# The places of a table at first, and the share of them that is taken at most.
FIRST, FULL = 4096, 0.6
_MASK = (1 << 64) - 1


class Cache:
    """A result for each of many names, until a time. Any thread may read; one at a time writes.

    Names are told apart by Python's secret hash of 64 bits alone. Of a million names, two have the
    same hash with a chance of one in 30 million.
    """

    def __init__(self, results: Sequence[str | None], most: int) -> None:
        """`results` are the results that may be stored.

        `most` is about the most names: tables drop some when they are full, and have more then.
        """
        self._results = tuple(results)
        self._numbers = {result: number for number, result in enumerate(self._results)}
        self._most = most // TABLES
        self._tables = [_Table(FIRST) for _ in range(TABLES)]

    def __len__(self) -> int:
        return sum(table.count for table in self._tables)

    def get(self, name: str, now: float) -> tuple[str | None, float] | None:
        """Return the result for the name, and until when it is valid; None without one.

        A result must be valid `now`. Times are those of one monotonic clock.
        """
        key = hash(name) & _MASK
        table = self._tables[key % TABLES]
        place = table.place_of(key)
        until = table.until[place]
        if table.keys[place] != key or until <= now:
            return None
        return self._results[table.numbers[place]], until

    def put(self, name: str, result: str | None, until: float) -> None:
        """Store a result that is valid until a time, which is rounded up to a second.

        Of too many names, those whose time ends first are dropped.
        """
        key = hash(name) & _MASK
        table = self._tables[key % TABLES]
        place = table.place_of(key)
        if table.keys[place] != key and table.count >= FULL * len(table.keys):
            table = self._tables[key % TABLES] = table.with_room(self._most)
            place = table.place_of(key)
        table.count += table.keys[place] != key
        table.numbers[place] = self._numbers[result]
        table.until[place] = min(math.ceil(until), (1 << 32) - 1)
        table.keys[place] = key  # last, because another thread may read at any moment


class _Table:
    """Hashes, each at its own place or the next free one after it; 0 is a free place."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.keys = array("Q", bytes(8 * size))
        self.until = array("I", bytes(4 * size))
        self.numbers = bytearray(size)

    def place_of(self, key: int) -> int:
        """Return the place of the key, or the free place where it belongs."""
        keys = self.keys
        last = len(keys) - 1
        place = (key // TABLES) & last
        while (found := keys[place]) and found != key:
            place = (place + 1) & last
        return place

    def with_room(self, most: int) -> _Table:
        """Return a copy that has room: twice as large, or without the half that ends first.

        The latter from `most` entries on. It is more than half if many end at the same time.
        """
        if self.count < most:
            table, drop_until = _Table(2 * len(self.keys)), 0
        else:
            table = _Table(len(self.keys))
            drop_until = sorted(until for until in self.until if until)[self.count // 2]
        for place, key in enumerate(self.keys):
            if key and self.until[place] > drop_until:
                new = table.place_of(key)
                table.keys[new] = key
                table.until[new] = self.until[place]
                table.numbers[new] = self.numbers[place]
                table.count += 1
        return table

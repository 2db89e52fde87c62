"""What a processor gets of the emails of a claim, if it needs more than their addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, overload

from batches import cells
from processors import Item


class KeptCells(NamedTuple):
    """The cells of a chunk's emails, from the email with the id `first_id` on, one line for each.

    columns: the names of the columns.
    """

    columns: Sequence[str]
    first_id: int
    lines: Sequence[str]

    def of(self, email_id: int) -> dict[str, str]:
        """Return the cells of an email's row by the names of their columns."""
        line = self.lines[email_id - self.first_id]
        return dict(zip(self.columns, cells.unpack(line, len(self.columns)), strict=True))


class Items(Sequence[Item]):
    """The Items of emails. Each is made when it is taken: a slow processor takes few of them."""

    def __init__(
        self, ids: Sequence[int], addresses: Sequence[str], make: Callable[[int, str], Item]
    ) -> None:
        """`make` returns the Item of an email with this id and address."""
        self._ids = ids
        self._addresses = addresses
        self._make = make

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Items: ...
    def __getitem__(self, index: int | slice) -> Item | Items:
        if isinstance(index, int):
            return self._make(self._ids[index], self._addresses[index])
        return Items(self._ids[index], self._addresses[index], self._make)

    def __iter__(self) -> Iterator[Item]:
        return map(self._make, self._ids, self._addresses)

"""What a processor gets of the emails of a claim, if it needs more than their addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

from batches import cells
from processors import Item
from processors.items import key_of


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
        self,
        batch_id: int,
        round_: int,
        ids: Sequence[int],
        addresses: Sequence[str],
        options: Mapping[str, Any],
        kept: KeptCells | None,
    ) -> None:
        self._of_all = batch_id, round_, options, kept
        self._ids = ids
        self._addresses = addresses

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Items: ...
    def __getitem__(self, index: int | slice) -> Item | Items:
        if isinstance(index, int):
            return self._item(self._ids[index], self._addresses[index])
        batch_id, round_, options, kept = self._of_all
        ids, addresses = self._ids[index], self._addresses[index]
        return Items(batch_id, round_, ids, addresses, options, kept)

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, self._ids, self._addresses)

    def _item(self, email_id: int, address: str) -> Item:
        batch_id, round_, options, kept = self._of_all
        return Item(
            address,
            key_of(batch_id, email_id, round_),
            round_,
            {} if kept is None else kept.of(email_id),
            options,
        )

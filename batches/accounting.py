"""What each row of a file becomes: emails, duplicates, a row without an address, or a blank one.

Rows come in pieces, and each step takes a piece at once, which is faster than row by row.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

import numpy as np

from batches.duplicates import AddressSet
from batches.kept_columns import KeptColumns
from batches.kept_files import SkippedRows
from tabular import columns
from tabular.addresses import addresses_in, is_blank, odd_cells
from tabular.formats import Format, IntakeError, naming_sheet
from tabular.reader import Table

# The fewest addresses in a piece of the COPY stream. Two or three such pieces fit into the socket's
# buffer (200 kB on Linux), so that PostgreSQL works at one while the next is made; with pieces as
# large as the buffer, one side always waits for the other.
PIECE = 1400
# Characters of addresses and cells at which a piece ends, however few addresses it has.
PIECE_CHARACTERS = 1 << 18
# Rows after which a piece ends, though they have few addresses: whoever takes the pieces looks
# between them whether to go on.
PIECE_ROWS = 10_000
# The most characters of a row in the results, where it comes once for each of its addresses.
REPEATED_CHARACTERS = 4_000_000


@dataclass
class Piece:
    """Addresses that follow one another in the file.

    lines: for each address, the line that its row begins on.
    parts: for each address that is not the first of its row, its place there, from 0, by its
        position in `addresses`.
    cells: for each address, the kept cells of its row in one line, as KeptColumns.lines() returns
        them; empty if none are kept.
    characters: those of all addresses and cells, at least.
    """

    addresses: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    parts: dict[int, int] = field(default_factory=dict)
    cells: list[str] = field(default_factory=list)
    characters: int = 0

    def extend(self, addresses: list[str], lines: Iterable[int]) -> None:
        """Add the only addresses of their rows."""
        self.addresses += addresses
        self.lines += lines

    def add_apart(self, addresses: list[str], lines: Sequence[int], parts: Sequence[int]) -> None:
        """Add addresses with their places in their rows."""
        start = len(self.addresses)
        self.parts.update((n, part) for n, part in enumerate(parts, start) if part)
        self.extend(addresses, lines)

    def add_row(self, addresses: list[str], line: int) -> None:
        """Add all addresses of a row."""
        self.add_apart(addresses, [line] * len(addresses), range(len(addresses)))


@dataclass
class Rows:
    """The file's rows, counted by what they became. The header is not counted.

    further: the addresses that are not the first of their row; each is an email or a duplicate.
    others: the rows that have addresses in other columns, which become no emails.
    width: the cells of the widest row.
    plain: whether each cell with an address is the address, as it is.
    """

    emails: int = 0
    duplicates: int = 0
    blank: int = 0
    without_address: int = 0
    further: int = 0
    others: int = 0
    width: int = field(default=0, compare=False)
    plain: bool = field(default=True, compare=False)

    @property
    def total(self) -> int:
        return self.emails + self.duplicates + self.blank + self.without_address - self.further


def read_addresses(
    table: Table,
    counts: Rows,
    max_rows: int,
    skipped: SkippedRows,
    kept: KeptColumns | None = None,
) -> Generator[Piece, None, None]:
    """Yield each address of the table once, with its line. Raises IntakeError.

    Any text in the address column is an address, malformed or not. Addresses that differ in case
    only are the same.

    counts: receives the numbers of rows, without the header.
    skipped: receives the rows without an address, and the addresses that came before.
    kept: the columns whose cells the pieces have; None for no cells. Those of an address that came
        before are dropped with it.
    """
    at_sign_seen = False
    with closing(AddressSet()) as known, naming_sheet(table.format.sheet):
        for piece in _all_addresses(table, counts, max_rows, skipped, kept):
            addresses, lines = piece.addresses, piece.lines
            at_sign_seen = at_sign_seen or any("@" in address for address in addresses)
            repeated = known.add(_lowered(addresses), lines)
            for position, first_line in sorted(repeated.items()):
                part = piece.parts.get(position, 0)
                skipped.duplicate(lines[position], part, first_line, addresses[position])
            counts.duplicates += len(repeated)
            counts.emails += len(addresses) - len(repeated)
            if repeated:
                new = [n for n in range(len(lines)) if n not in repeated]
                cells = [piece.cells[n] for n in new] if kept is not None else []
                yield Piece([addresses[n] for n in new], [lines[n] for n in new], cells=cells)
            else:
                yield piece
    # In a column that was found before, even a text without @ was an address.
    if not (counts.emails if table.is_known else at_sign_seen):
        raise _no_address(table.format, counts.others)


def _lowered(addresses: list[str]) -> list[str]:
    """Return the addresses in lower case; a look at all together takes a third of the time."""
    joined = "".join(addresses)
    return addresses if joined == joined.lower() else [*map(str.lower, addresses)]


def _no_address(found: Format, others: int) -> IntakeError:
    """Return the error for a table without an address in its column.

    others: the rows that have addresses in other columns.
    """
    if others:
        return IntakeError(
            "no_address",
            f"No email address was found in column {found.column + 1}. Other columns have some;"
            " choose one of them.",
        )
    sheet = found.sheet
    where, needed = f"the sheet {sheet!r}", "a column with addresses"
    if sheet is None:
        where, needed = "the file", f"{needed}, separated by commas, semicolons, tabs or pipes"
    return IntakeError(
        "no_address",
        f"No email address was found in {where}. It needs one address per line, or {needed}.",
    )


@dataclass(frozen=True)
class Counted:
    """What becomes of a table's first rows.

    whole: whether these rows are all of the table.
    problem: why the table can't be a batch as it is read; None if it can.
    """

    rows: Rows
    whole: bool
    problem: str | None


def count(table: Table, most: int, max_rows: int) -> Counted:
    """Count the first rows of a table, about `most`, and close it. Raises IntakeError."""
    rows = Rows()
    with closing(table), closing(SkippedRows(batch_id=0)) as skipped:
        try:
            for _ in read_addresses(table, rows, max_rows, skipped):
                if rows.total >= most:
                    return Counted(rows, whole=False, problem=None)
        except IntakeError as error:
            if error.code != "no_address":
                raise
            return Counted(rows, whole=True, problem=str(error))
    return Counted(rows, whole=True, problem=None)


class _Cells(NamedTuple):
    """The rows of a block with their cells in the address column.

    numbers: the line that each row begins on.
    parts: the places of a list's addresses, as in Block; None for any other file.
    signs: the number of @ in the block.
    """

    numbers: Sequence[int]
    rows: Sequence[list[str]]
    cells: list[str]
    parts: Sequence[int] | None
    signs: int


def _all_addresses(
    table: Table, counts: Rows, max_rows: int, skipped: SkippedRows, kept: KeptColumns | None
) -> Iterator[Piece]:
    """Yield the addresses of all rows, duplicates too.

    Rows without one are counted and go to `skipped`. Raises IntakeError.
    """
    found = table.format
    piece = Piece()
    total = before = 0  # `before` is the total at the end of the last piece
    for each in _without_header(table, counts):
        text = "\n".join(each.cells)
        if each.signs > _signs(text):
            counts.others += columns.count_others(each.rows, found)
        further = sum(map(bool, each.parts or ()))
        counts.further += further
        total += len(each.cells) - further
        # Of batches that are older than cleaning, a cell is the address, whatever is around it.
        odd = [] if found.cells == "whole" else odd_cells(text, len(each.cells))
        piece.characters += len(text)
        if not odd and "" not in each.cells and not further:
            piece.extend(each.cells, each.numbers)
        elif each.parts is not None:
            _add_list(piece, each, each.parts, counts, skipped)
        else:
            counts.plain = counts.plain and not odd
            _add_rows(piece, each, odd, found.splits, counts, skipped)
        if kept is not None:
            _add_cells(piece, each, found.column, kept)
        if total + counts.further > max_rows:
            raise IntakeError(
                "too_many_rows",
                f"the file has more than {max_rows:,} rows. Split it into smaller files.",
                line=each.numbers[min(max_rows - total, -1)],
            )
        full = len(piece.addresses) >= PIECE or piece.characters >= PIECE_CHARACTERS
        if full or total - before >= PIECE_ROWS:
            yield piece
            piece, before = Piece(), total
    yield piece


def _add_list(
    piece: Piece, list_: _Cells, parts: Sequence[int], counts: Rows, skipped: SkippedRows
) -> None:
    """Add the addresses of a list, each of which is a row of the block already."""
    there = [*map(bool, list_.cells)]
    piece.add_apart(
        [*compress(list_.cells, there)],
        [*compress(list_.numbers, there)],
        [*compress(parts, there)],
    )
    counts.blank += len(there) - sum(there)
    for line, cell in zip(list_.numbers, list_.cells, strict=True):
        if not cell:
            skipped.blank(line)


def _add_rows(
    piece: Piece, table: _Cells, odd: list[int], split: bool, counts: Rows, skipped: SkippedRows
) -> None:
    """Add the addresses of rows of which some have none, or several, or are to be cleaned.

    odd: the positions of the cells that may be no single, clean address.
    split: whether a cell may have several addresses.
    """
    cells, numbers = table.cells, table.numbers
    if "" in cells:
        odd = sorted({*odd, *(n for n, cell in enumerate(cells) if not cell)})
    start = 0
    for position in odd:
        piece.extend(cells[start:position], numbers[start:position])
        start = position + 1
        line, row = numbers[position], table.rows[position]
        if addresses := addresses_in(cells[position], split=split):
            _refuse_repetition(row, addresses, line)
            piece.add_row(addresses, line)
            counts.further += len(addresses) - 1
        elif all(map(is_blank, row)):
            counts.blank += 1
            skipped.blank(line)
        else:
            counts.without_address += 1
            skipped.without_address(line, row)
    piece.extend(cells[start:], numbers[start:])


def _add_cells(piece: Piece, table: _Cells, column: int, kept: KeptColumns) -> None:
    """Add the cells of a block's rows, whose addresses were added just before.

    Where a row has several addresses, its cell in the address column is the one address for each,
    as in the results: all of the cell, for each address in it, would be far longer than the file.
    """
    start = len(piece.cells)
    cells, lines = kept.lines(table.rows), piece.lines[start:]
    if lines != [*table.numbers]:
        places = {line: place for place, line in enumerate(table.numbers)}
        several = {piece.lines[position] for position in piece.parts if position >= start}
        cells = [cells[places[line]] for line in lines]
        for n, line in enumerate(lines):
            if line in several:
                row = [*table.rows[places[line]]]
                row[column] = piece.addresses[start + n]
                cells[n : n + 1] = kept.lines([row])
    piece.cells += cells
    piece.characters += len("".join(cells))  # several times faster than the sum of their lengths


def _refuse_repetition(row: list[str], addresses: list[str], line: int) -> None:
    """Raise IntakeError if a row, repeated with each of its addresses, is too long for results."""
    others = sum(map(len, row)) + len(row) - sum(map(len, addresses))
    if len(addresses) > 1 and others * len(addresses) > REPEATED_CHARACTERS:
        raise IntakeError(
            "too_many_addresses",
            f"the row has {len(addresses):,} addresses, and too much other text to be repeated"
            " with each of them. Put one address on each line.",
            line=line,
        )


def _without_header(table: Table, counts: Rows) -> Iterator[_Cells]:
    """Yield the cells with the addresses of each block, without the header's.

    The rows above the header have no address. The widest row is noted in `counts`. Raises
    IntakeError if it is too wide.
    """
    found = table.format
    # Rows above the header, or above the data, counted from the block's first row.
    above = found.header_index
    for block in table.blocks():
        numbers, rows = block.numbers, block.cells(found.delimiter or ",")
        counts.width = max(counts.width, columns.width_of(numbers, rows))
        if found.header is not None and 0 <= above < len(rows):
            numbers = [*numbers[:above], *numbers[above + 1 :]]
            rows = [*rows[:above], *rows[above + 1 :]]
        cells = columns.address_cells(rows, found)
        if above > 0:
            cells[:above] = [""] * min(above, len(cells))
        above -= len(block)
        signs = _signs("".join(block.lines or map("".join, rows)))
        yield _Cells(numbers, rows, cells, block.parts, signs)


def _signs(text: str) -> int:
    """Return the number of @ in a text, in a third of the time that str.count() takes."""
    return int(np.count_nonzero(np.frombuffer(text.encode(), np.uint8) == ord("@")))

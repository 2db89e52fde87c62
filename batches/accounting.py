"""What each row of a file becomes: emails, duplicates, a row without an address, or a blank one.

Rows come in pieces, and each step takes a piece at once, which is faster than row by row.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from batches.duplicates import AddressSet
from batches.kept_columns import KeptColumns
from batches.kept_files import SkippedRows
from batches.pieces import Lines, Piece
from runtime import texts
from runtime.texts import Texts
from tabular import columns
from tabular.addresses import addresses_in, is_blank, odd_cells
from tabular.block import Block
from tabular.formats import Format, IntakeError, naming_sheet
from tabular.plain import PlainRows
from tabular.reader import Table

# A piece ends with the block that brings it to so many rows: few enough for whoever looks between
# the pieces whether to go on, and so many that the steps for each piece cost little.
PIECE_ROWS = 5_000
# It also ends with the block that brings it to so many bytes of addresses and cells.
PIECE_BYTES = 1 << 18
# The most characters of a row in the results, where it comes once for each of its addresses.
REPEATED_CHARACTERS = 4_000_000


@dataclass
class Rows:
    """The file's rows, counted by what they became. The header is not counted.

    further: the addresses that are not the first of their row; each is an email or a duplicate.
    others: the rows that have addresses in other columns, which become no emails.
    width: the cells of the widest row.
    plain: whether each cell with an address is the address, once it is stripped.
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
            at_sign_seen = at_sign_seen or b"@" in piece.addresses.content
            repeated = dict(sorted(known.add(piece.addresses.lowered(), piece.lines).items()))
            for position, first_line in repeated.items():
                part, address = piece.parts.get(position, 0), piece.addresses[position]
                skipped.duplicate(int(piece.lines[position]), part, first_line, address)
            counts.duplicates += len(repeated)
            counts.emails += len(piece.lines) - len(repeated)
            yield piece.without([*repeated]) if repeated else piece
    # In a column that was found before, even a text without @ was an address.
    if not (counts.emails if table.is_known else at_sign_seen):
        raise _no_address(table.format, counts.others)


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

    block: the rows.
    rows: the cells of each row; none if they are PlainRows, of which few need to be made.
    plain: the rows as PlainRows; None if they are not.
    cells: each row's cell in the address column, stripped; of PlainRows, a cell may still have
        spaces around it, with which it is one of odd_cells().
    has_others: whether there is an @ in other columns.
    width: the cells of the widest row, the header among them.
    """

    block: Block
    rows: Sequence[list[str]]
    plain: PlainRows | None
    cells: Texts
    has_others: bool
    width: int

    def row(self, position: int) -> list[str]:
        """Return the cells of a row."""
        return self.rows[position] if self.plain is None else self.plain.row(position)

    def all_rows(self) -> Sequence[list[str]]:
        """Return the cells of each row."""
        return self.rows if self.plain is None else self.plain.rows()

    def line_numbers(self) -> Lines:
        """Return the line that each row begins on."""
        numbers = self.block.numbers
        if isinstance(numbers, range):
            return np.arange(numbers.start, numbers.stop)
        return np.array(numbers, np.int64)


def _all_addresses(
    table: Table, counts: Rows, max_rows: int, skipped: SkippedRows, kept: KeptColumns | None
) -> Iterator[Piece]:
    """Yield the addresses of all rows, duplicates too.

    Rows without one are counted and go to `skipped`. Raises IntakeError.
    """
    found = table.format
    pieces: list[Piece] = []
    total = before = 0  # `before` is the total at the end of the last piece
    for each in _without_header(table, counts):
        if each.has_others:
            counts.others += columns.count_others(each.all_rows(), found)
        further = sum(map(bool, each.block.parts or ()))
        counts.further += further
        total += len(each.cells) - further
        if each.block.parts is not None:
            pieces.append(_of_list(each, each.block.parts, counts, skipped))
        else:
            pieces.append(_of_rows(each, found, counts, skipped, kept))
        if total + counts.further > max_rows:
            what = "rows and further addresses" if counts.further else "rows"
            raise IntakeError(
                "too_many_rows",
                f"the file has more than {max_rows:,} {what}. Split it into smaller files.",
                line=each.block.numbers[min(max_rows - total, -1)],
            )
        is_large = sum(piece.size for piece in pieces) >= PIECE_BYTES
        if is_large or total - before >= PIECE_ROWS:
            yield Piece.joined(pieces)
            pieces, before = [], total
    if pieces:
        yield Piece.joined(pieces)


def _of_list(list_: _Cells, parts: Sequence[int], counts: Rows, skipped: SkippedRows) -> Piece:
    """Return the addresses of a list, each of which is a row of the block already."""
    there = list_.cells.lengths > 0
    lines = list_.line_numbers()
    for line in lines[~there].tolist():
        skipped.blank(line)
    counts.blank += len(lines) - int(there.sum())
    places = {n: part for n, part in enumerate(np.array(parts)[there].tolist()) if part}
    gone = np.flatnonzero(~there).tolist()
    return Piece(list_.cells.without(gone) if gone else list_.cells, lines[there], places)


def _of_rows(
    table: _Cells, found: Format, counts: Rows, skipped: SkippedRows, kept: KeptColumns | None
) -> Piece:
    """Return the addresses of a table's rows, of which each has one, several or none."""
    lines, cells = table.line_numbers(), table.cells
    new = _new_addresses(table, found, counts, skipped)
    addresses = cells.replaced(new) if new else cells
    kept_cells = None if kept is None else _kept_cells(table, found, new, kept)
    several = {position: len(here) for position, here in new.items() if len(here) != 1}
    if not several:
        return Piece(addresses, lines, cells=kept_cells)
    number = np.ones(len(lines), np.intp)
    number[[*several]] = [*several.values()]
    starts = np.cumsum(number) - number
    parts = {
        int(starts[position]) + part: part
        for position, count in several.items()
        for part in range(1, count)
    }
    return Piece(addresses, np.repeat(lines, number), parts, kept_cells)


def _new_addresses(
    table: _Cells, found: Format, counts: Rows, skipped: SkippedRows
) -> dict[int, list[str]]:
    """Return the addresses of each row, by its position, whose cell isn't one clean address.

    Rows without an address are counted and go to `skipped`.
    """
    new: dict[int, list[str]] = {}
    empty = np.flatnonzero(table.cells.lengths == 0).tolist()
    # Of batches that are older than cleaning, a cell is the address, whatever is around it.
    # Only those of PlainRows may still have spaces around them.
    is_whole = found.cells == "whole" and table.plain is None
    odd = [] if is_whole else odd_cells(table.cells)
    for position in sorted({*odd, *empty}):
        cell, line = table.cells[position].strip(), table.block.numbers[position]
        new[position] = addresses = _in_cell(cell, found) if cell else []
        counts.plain = counts.plain and (not cell or addresses == [cell])
        if len(addresses) == 1:
            continue
        row = table.row(position)
        if addresses:
            _refuse_repetition(row, addresses, line)
            counts.further += len(addresses) - 1
        elif all(map(is_blank, row)):
            counts.blank += 1
            skipped.blank(line)
        else:
            counts.without_address += 1
            skipped.without_address(line, row)
    return new


def _in_cell(cell: str, found: Format) -> list[str]:
    if found.cells == "whole":
        return [cell]
    return addresses_in(cell, split=found.splits)


def _kept_cells(
    table: _Cells, found: Format, new: dict[int, list[str]], kept: KeptColumns
) -> Texts:
    """Return the kept cells of a block's rows, for each address.

    Where a row has several addresses, its cell in the address column is the one address for each,
    as in the results: all of the cell, for each address in it, would be far longer than the file.
    """
    cells = None if table.plain is None else kept.plain_lines(table.plain)
    if cells is None:
        cells = Texts.of(kept.lines(table.all_rows()))
    changed: dict[int, list[str]] = {}
    for position, addresses in new.items():
        if len(addresses) != 1:
            row = table.row(position)
            before, behind = row[: found.column], row[found.column + 1 :]
            changed[position] = kept.lines([[*before, each, *behind] for each in addresses])
    return cells.replaced(changed) if changed else cells


def _refuse_repetition(row: list[str], addresses: list[str], line: int) -> None:
    """Raise IntakeError if a row, repeated with each of its addresses, is too long for results."""
    others = sum(map(len, row)) + len(row) - sum(map(len, addresses))
    if others * len(addresses) > REPEATED_CHARACTERS:
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
    for block in _cut_at(found.header_index, table.blocks()):
        each = _plain_cells(block, found) if above < 0 else None
        if each is None:
            each = _cells(block, found, above)
        counts.width = max(counts.width, each.width)
        yield each
        above -= len(block)


def _cut_at(index: int, blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield the blocks, of which none has both the row at this index and a row behind it."""
    for block in blocks:
        if 0 <= index < len(block) - 1:
            yield block.part(0, index + 1)
            yield block.part(index + 1, len(block))
        else:
            yield block
        index -= len(block)


def _plain_cells(block: Block, found: Format) -> _Cells | None:
    """Return the cells of a plain block; None if the rows must be made for them."""
    plain = None if found.is_results else block.plain(found.separator)
    if plain is None or plain.width > columns.MAX_COLUMNS:
        return None
    cells = plain.cells(found.column)
    if not cells.content.isascii():
        return None
    signs = texts.count(b"@", plain.content), texts.count(b"@", cells.content)
    return _Cells(block, (), plain, cells, signs[0] > signs[1], plain.width)


def _cells(block: Block, found: Format, above: int) -> _Cells:
    """Return the cells of any block, without the header, if the block has it.

    above: the rows above the header, or above the data.
    """
    rows = block.cells(found.separator)
    width = columns.width_of(block.numbers, rows)
    if found.header is not None and 0 <= above < len(rows):
        block = block.picked([n for n in range(len(rows)) if n != above])
        rows = block.cells(found.separator)
    cells = columns.address_cells(rows, found)
    if above > 0:
        cells[:above] = [""] * min(above, len(cells))
    every = "".join(block.lines or map("".join, rows))
    packed = Texts.of(cells)
    has_others = texts.count(b"@", every.encode()) > texts.count(b"@", packed.content)
    return _Cells(block, rows, None, packed, has_others, width)

"""Reads a file, text or workbook, as blocks of rows, and looks at the first rows for its format.

Neither the file nor a list of its rows is ever in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import BinaryIO

from tabular import columns, detect, documents, encodings, headers, kinds
from tabular.block import Block
from tabular.formats import Format, IntakeError, Overrides, naming_sheet
from tabular.text import BLOCK, BLOCK_ROWS, Text
from tabular.workbooks import workbook

# The most rows of a sample, and the characters at which it ends.
SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 1 << 20


@dataclass
class Table:
    """A file that was looked at, ready to be read once. Must be closed.

    format: the format of the file, complete.
    sheets: the sheets of a workbook; empty for any other file.
    sample: the first rows, each with its number; empty if the format was known.
    is_known: whether the format was known, so that each text in its column is an address.
    """

    format: Format
    sheets: list[workbook.Sheet]
    sample: list[tuple[int, list[str]]]
    _first: list[Block]
    _rest: Generator[Block, None, None]
    is_known: bool = False

    def blocks(self) -> Iterator[Block]:
        """Return all blocks, as blocks() of this module does; only once."""
        return chain(self._first, self._rest)

    def close(self) -> None:
        """End the reading. The file stays open."""
        self._rest.close()


def read(file: BinaryIO, overrides: Overrides, *, cut: bool = False) -> Table:
    """Look at the file's beginning, and return a Table with the format found. Raises IntakeError.

    cut: whether `file` is only the first part of a file, so that its last row may be half a row.
    """
    sheets: list[workbook.Sheet] = []
    if workbook.is_workbook(file):
        choice = workbook.named(overrides.sheet) if overrides.sheet else workbook.BEST
        reading = workbook.read(file, choice)
        sheets = reading.sheets
        found = Format(reading.kind, sheet=reading.sheet)  # type: ignore[arg-type]
        rest = _blocks_of(reading.rows)
    else:
        found = _text_format(file, overrides)
        rest = blocks(file, found, cut=cut)
    try:
        with naming_sheet(found.sheet):
            found, sample, first = _look(rest, found, overrides, cut=cut)
    except BaseException:
        rest.close()
        raise
    return Table(found, sheets, sample, first, rest)


def known(file: BinaryIO, found: Format) -> Table:
    """Return a Table of a file that was read with this format before. Raises IntakeError."""
    rest = blocks(file, found)
    first = list(islice(rest, 1))  # opens a workbook now, and not when the rows are stored
    return Table(found, [], [], first, rest, is_known=True)


def _look(
    rest: Iterator[Block], found: Format, overrides: Overrides, *, cut: bool
) -> tuple[Format, list[tuple[int, list[str]]], list[Block]]:
    """Return the complete format, the sample, and the blocks that the sample comes from."""
    first, sample, ended = _first_rows(rest, found)
    if not sample:
        what = f"sheet {found.sheet!r}" if found.sheet else "file"
        message = f"The {what} is empty. Choose one with an address per line."
        if found.kind == "html":
            message = "The web page has no table. Copy its addresses, and paste them."
        raise IntakeError("empty_file", message)
    if cut and ended and len(sample) > 1:
        sample.pop()
    numbers, cells = zip(*sample, strict=True)
    if cut and ended:
        first = [Block(numbers, rows=cells)]
    columns.width_of(numbers, cells)  # refuses a row that is too wide
    return columns.complete(found, numbers, cells, overrides), sample, first


def _text_format(file: BinaryIO, overrides: Overrides) -> Format:
    """Return the format of a file that is no workbook, as far as it is known without its rows."""
    kind = kinds.text_kind(file)
    encoding = encodings.encoding_of(file, overrides.encoding)
    if kind != "csv":
        return Format(kind, encoding)
    start = detect.start_of(file, encoding)
    whole = len(start) < detect.SAMPLE
    if overrides.can_be_list and headers.is_list(start, whole=whole):
        return Format("list", encoding, strict=True)
    delimiter = overrides.delimiter or detect.delimiter_of(file, encoding)
    return Format("csv", encoding, delimiter, strict=True)


def _first_rows(
    rest: Iterator[Block], found: Format
) -> tuple[list[Block], list[tuple[int, list[str]]], bool]:
    """Return the first blocks, the sample of their rows, and whether that is all of the file."""
    first: list[Block] = []
    sample: list[tuple[int, list[str]]] = []
    characters = 0
    for block in rest:
        first.append(block)
        start = block.part(0, min(len(block), SAMPLE_ROWS - len(sample)))
        for number, cells in zip(start.numbers, start.cells(found.separator), strict=True):
            sample.append((number, cells))
            characters += sum(map(len, cells)) + len(cells)
            if len(sample) == SAMPLE_ROWS or characters > SAMPLE_CHARACTERS:
                return first, sample, False
    return first, sample, True


def blocks(file: BinaryIO, found: Format, *, cut: bool = False) -> Generator[Block, None, None]:
    """Yield all rows of a file of this format, the header and blank rows too.

    A row's number is the line that the row begins on; in a workbook, the row's own. The file stays
    open. Raises IntakeError.
    """
    file.seek(0)
    if found.kind in ("csv", "list"):
        yield from Text(file, found, cut=cut).blocks()
    elif found.kind in workbook.KINDS:
        choice = workbook.named(found.sheet) if found.sheet else workbook.FIRST
        yield from _blocks_of(workbook.read(file, choice).rows)
    else:
        yield from _blocks_of(documents.rows(file, found.kind, found.encoding or "utf-8"))


def _blocks_of(
    numbered: Generator[tuple[int, list[str]], None, None],
) -> Generator[Block, None, None]:
    numbers: list[int] = []
    rows: list[list[str]] = []
    characters = 0
    with closing(numbered):
        for number, cells in numbered:
            numbers.append(number)
            rows.append(cells)
            characters += sum(map(len, cells)) + len(cells)
            if len(rows) == BLOCK_ROWS or characters >= BLOCK:
                yield Block(numbers, rows=rows)
                numbers, rows, characters = [], [], 0
    if rows:
        yield Block(numbers, rows=rows)

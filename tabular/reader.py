"""Reads a file, text or workbook, as blocks of rows, and looks at the first rows for its format.

Neither the file nor a list of its rows is ever in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from tabular import columns, detect, workbook
from tabular.formats import Format, IntakeError, Overrides
from tabular.text import BLOCK, BLOCK_ROWS, Block, Text

# The most rows of a sample, and the characters at which it ends.
SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 1 << 20


@dataclass
class Table:
    """A file that was looked at, ready to be read once. Must be closed.

    format: with header and column.
    sample: the first rows, each with its number.
    """

    format: Format
    sample: list[tuple[int, list[str]]]
    _first: list[Block]
    _rest: Generator[Block, None, None]

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
    kind = _kind(file, overrides)
    rest = blocks(file, kind)
    try:
        first, sample, ended = _first_rows(rest, kind)
        if not sample:
            raise IntakeError(
                "empty_file", "The file is empty. Choose one with an address per line."
            )
        if cut and ended and len(sample) > 1:
            sample.pop()
        numbers, cells = zip(*sample, strict=True)
        if cut and ended:
            first = [Block(numbers, rows=cells)]
        columns.width_of(numbers, cells)
        found = columns.complete(kind, cells, overrides)
    except BaseException:
        rest.close()
        raise
    return Table(found, sample, first, rest)


def _kind(file: BinaryIO, overrides: Overrides) -> Format:
    if workbook.is_workbook(file):
        return Format("xlsx")
    encoding = detect.encoding_of(file, overrides.encoding)
    delimiter = overrides.delimiter or detect.delimiter_of(file, encoding)
    return Format("csv", encoding, delimiter)


def _first_rows(
    rest: Iterator[Block], kind: Format
) -> tuple[list[Block], list[tuple[int, list[str]]], bool]:
    """Return the first blocks, the sample of their rows, and whether that is all of the file."""
    first, sample, characters = [], [], 0
    for block in rest:
        first.append(block)
        for number, cells in zip(block.numbers, block.cells(kind.delimiter or ","), strict=True):
            sample.append((number, cells))
            characters += sum(map(len, cells)) + len(cells)
            if len(sample) == SAMPLE_ROWS or characters > SAMPLE_CHARACTERS:
                return first, sample, False
    return first, sample, True


def blocks(file: BinaryIO, found: Format) -> Generator[Block, None, None]:
    """Yield all rows of a file of this format, the header and blank rows too.

    A row's number is the line that the row begins on; in a workbook, the row's own. The file stays
    open. Raises IntakeError.
    """
    file.seek(0)
    if found.kind == "csv":
        yield from Text(file, found).blocks()
        return
    numbers: list[int] = []
    rows: list[list[str]] = []
    characters = 0
    with closing(workbook.rows(file)) as all_rows:
        for number, cells in all_rows:
            numbers.append(number)
            rows.append(cells)
            characters += sum(map(len, cells)) + len(cells)
            if len(rows) == BLOCK_ROWS or characters >= BLOCK:
                yield Block(numbers, rows=rows)
                numbers, rows, characters = [], [], 0
    if rows:
        yield Block(numbers, rows=rows)

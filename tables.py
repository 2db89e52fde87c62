"""The rows of a file, text or workbook, each with the line that it begins on.

Nothing here holds the file or a list of its rows, however large it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import BinaryIO

import columns
import dialects
import sheets
from formats import Format, IntakeError, Overrides
from texts import BLOCK_ROWS, Block, Rows, Text

# Rows, and about how many characters of them, that are looked at to find the addresses.
SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 1 << 20


class Table:
    """A file that has been looked at: its `format`, the `sample` of its first rows, all rows()."""

    def __init__(self, found: Format, sample: list[tuple[int, list[str]]], rest: Rows) -> None:
        self.format = found
        self.sample = sample
        self._rest = rest

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """As rows() of this module, once."""
        return chain(self.sample, self._rest)

    def close(self) -> None:
        """End the reading; the file is left open."""
        self._rest.close()


def read(file: BinaryIO, overrides: Overrides, *, cut: bool = False) -> Table:
    """Look at a file, its own kind and what stands in it. The table must be closed.

    With `cut`, this is the first part of a file, so that its end means nothing. Raises IntakeError.
    """
    kind = _kind(file, overrides)
    rest = rows(file, kind)
    try:
        sample = _sample(rest)
        if cut and len(sample) > 1 and inspect.getgeneratorstate(rest) == inspect.GEN_CLOSED:
            sample.pop()
        if not sample:
            raise IntakeError(
                "empty_file", "The file is empty. Choose one with an address per line."
            )
        found = columns.complete(kind, [cells for _, cells in sample], overrides)
    except BaseException:
        rest.close()
        raise
    return Table(found, sample, rest)


def is_workbook(file: BinaryIO) -> bool:
    """Whether the file is to be read as a workbook; it is left at its beginning."""
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    return sheets.is_workbook(start)


def _kind(file: BinaryIO, overrides: Overrides) -> Format:
    if is_workbook(file):
        return Format("xlsx")
    encoding = dialects.encoding_of(file, overrides.encoding)
    delimiter = overrides.delimiter or dialects.delimiter_of(file, encoding)
    return Format("csv", encoding, delimiter)


def _sample(rest: Rows) -> list[tuple[int, list[str]]]:
    sample, characters = [], 0
    for line, cells in rest:
        sample.append((line, cells))
        characters += sum(map(len, cells)) + len(cells)
        if len(sample) == SAMPLE_ROWS or characters > SAMPLE_CHARACTERS:
            break
    return sample


def rows(file: BinaryIO, found: Format) -> Rows:
    """All rows of a file of this format, its header and blank ones too, from its beginning.

    The number is the line that the row begins on, for a workbook the row's own. The file is left
    open. Raises IntakeError.
    """
    file.seek(0)
    if found.kind == "xlsx":
        return sheets.rows(file)
    return Text(file, found).rows()


def blocks(file: BinaryIO, found: Format) -> Generator[Block, None, None]:
    """The same rows, many at a time. Raises IntakeError."""
    if found.kind == "csv":
        file.seek(0)
        yield from Text(file, found).blocks()
        return
    with closing(rows(file, found)) as all_rows:
        while some := list(islice(all_rows, BLOCK_ROWS)):
            numbers, cells = zip(*some, strict=True)
            yield Block(numbers, rows=cells)

"""The rows of a file, text or workbook, each with the line that it begins on.

Nothing here holds the file or a list of its rows, however large it is.
"""

from __future__ import annotations

import codecs
import csv
import inspect
import io
from collections.abc import Generator, Iterator
from itertools import chain
from typing import BinaryIO

import columns
import dialects
import sheets
from formats import Format, IntakeError, Overrides

# Characters: what is read and parsed at once, and the longest line and row that are accepted.
BLOCK = 1 << 18
MAX_LINE = 1 << 20
# Rows, and about how many characters of them, that are looked at to find the addresses.
SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 1 << 20

Rows = Generator[tuple[int, list[str]], None, None]

# An undecodable byte becomes what a text can't contain, when its line is looked for.
codecs.register_error("mark_by_nul", lambda error: ("\0", error.end))  # type: ignore[attr-defined]


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
    return _Text(file, found).rows()


class _Text:
    """A CSV file as it is read."""

    def __init__(self, file: BinaryIO, found: Format) -> None:
        self._file = file
        self._format = found
        # The line that the row begins on which is being read.
        self._line = 1

    def rows(self) -> Rows:
        text = io.TextIOWrapper(self._file, self._format.encoding, newline=None)
        lines = chain.from_iterable(self._blocks_of_lines(text))
        reader = csv.reader(lines, delimiter=self._format.delimiter or ",")
        try:
            for row in reader:
                yield self._line, row
                self._line = reader.line_num + 1
        except UnicodeError:
            raise IntakeError(
                "undecodable",
                f"this is not {self._format.encoding} text. Save the file as CSV in UTF-8 and"
                " upload it again, or name its encoding.",
                line=self._undecodable_line(),
            ) from None
        except csv.Error as error:
            raise IntakeError(
                "bad_csv",
                f"this can't be read as CSV: {error}. Perhaps a quote is left open.",
                line=self._line,
            ) from None
        finally:
            text.detach()  # the file is the caller's to close

    def _blocks_of_lines(self, text: io.TextIOWrapper) -> Iterator[Iterator[str] | list[str]]:
        """The text in blocks of whole lines. Raises IntakeError for what no text file contains."""
        rest, lines = "", 0
        row, length = 1, 0
        while block := text.read(BLOCK):
            if "\0" in block:
                lines += block.count("\n", 0, block.index("\0")) + 1
                raise _binary(block, lines)
            lines += block.count("\n")
            row, length = self._line, length + len(block) if row == self._line else 0
            end = block.rfind("\n") + 1
            if end:
                yield io.StringIO(rest + block[:end], newline="\n")
                rest = block[end:]
            else:
                rest += block
            if len(rest) > MAX_LINE:
                raise IntakeError(
                    "line_too_long",
                    f"it is longer than {MAX_LINE:,} characters. Put one address on each line.",
                    line=lines + 1,
                )
            if length > 2 * MAX_LINE:
                raise IntakeError(
                    "row_too_long",
                    f"the row that begins here is longer than {2 * MAX_LINE:,} characters."
                    " Perhaps a quote is left open.",
                    line=self._line,
                )
        if rest:
            yield [rest]

    def _undecodable_line(self) -> int:
        self._file.seek(0)
        text = io.TextIOWrapper(self._file, self._format.encoding, "mark_by_nul", newline=None)
        lines = 1
        while block := text.read(BLOCK):
            before, nul, _ = block.partition("\0")
            lines += before.count("\n")
            if nul:
                break
        text.detach()
        return lines


def _binary(block: str, line: int) -> IntakeError:
    if block.count("\0", 0, 1000) > len(block[:1000]) // 3:
        return IntakeError(
            "binary_file",
            "every other byte is NUL, as in UTF-16 without a byte order mark. Save the file as CSV"
            " in UTF-8, or name its encoding, utf-16-le or utf-16-be.",
            status=415,
            line=line,
        )
    return IntakeError(
        "binary_file",
        "there is a NUL byte, so this is not a text file. Save it as CSV in UTF-8.",
        status=415,
        line=line,
    )

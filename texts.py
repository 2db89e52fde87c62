"""The rows of a text file, CSV with any delimiter, each with the line that it begins on.

Most files have no quotes at all, or few, and what has none needs no parser: it comes as the lines
that it is.
"""

from __future__ import annotations

import codecs
import csv
import io
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from formats import Format, IntakeError

# Characters that are read and parsed at once. With eight times as many, what is made of them leaves
# a processor's nearest cache, and results take up to half as long again.
BLOCK = 1 << 15
# Characters of the longest line that is accepted; a row with line breaks may have twice as many. No
# step of reading, checking or answering such a line takes more than some 5 ms.
MAX_LINE = 1 << 18
# Rows of one block of them at most. It ends, too, with the row that makes it BLOCK long.
BLOCK_ROWS = 2_000

# An undecodable byte becomes what a text can't contain, when its line is looked for.
codecs.register_error("mark_by_nul", lambda error: ("\0", error.end))  # type: ignore[attr-defined]


class Block:
    """Rows that follow one another; `numbers` has the line that each begins on, in order.

    `lines` has them as they are written, each ready to be gone on with, or is None for rows that
    no text was read for. `rows` has their cells, or is None if the lines have no quotes, so that
    cells are what is between the delimiters.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        *,
        lines: list[str] | None = None,
        rows: Sequence[list[str]] | None = None,
    ) -> None:
        self.numbers = numbers
        self.lines = lines
        self.rows = rows

    def cells(self, delimiter: str) -> Sequence[list[str]]:
        """Those of each row."""
        if self.rows is not None:
            return self.rows
        return [line.split(delimiter) if line else [] for line in self.lines or ()]

    def __len__(self) -> int:
        return len(self.numbers)

    def characters(self) -> int:
        """How many there are in all rows."""
        if self.lines is not None:
            return sum(map(len, self.lines))
        return sum(sum(map(len, row)) + len(row) for row in self.rows or ())

    def part(self, start: int, stop: int) -> Block:
        """The rows at these positions, as a block."""
        lines = None if self.lines is None else self.lines[start:stop]
        rows = None if self.rows is None else self.rows[start:stop]
        return Block(self.numbers[start:stop], lines=lines, rows=rows)

    def positions(self, numbers: list[int]) -> list[int] | None:
        """Where the rows are that begin on these lines, in order; None if one is not here."""
        if not numbers:
            return []
        if isinstance(self.numbers, range):
            first = self.numbers.start
            if not first <= numbers[0] <= numbers[-1] < self.numbers.stop:
                return None
            return [number - first for number in numbers]
        found = [bisect_left(self.numbers, number) for number in numbers]
        if found[-1] == len(self) or [self.numbers[index] for index in found] != numbers:
            return None
        return found


class Text:
    """A text file as it is read, once."""

    def __init__(self, file: BinaryIO, found: Format) -> None:
        self._file = file
        self._format = found
        self._delimiter = found.delimiter or ","
        # The line that the row begins on which is being read.
        self._line = 1

    def blocks(self) -> Iterator[Block]:
        """All rows, from where the file is. Raises IntakeError; the file is left open."""
        text = io.TextIOWrapper(self._file, self._format.encoding, newline=None)
        parts = self._parts(text)
        try:
            for part in parts:
                lines = part.removesuffix("\n").split("\n")
                rows = None
                if '"' in part or max(map(len, lines)) > csv.field_size_limit():
                    rows = self._cells(lines)
                    if rows is None:
                        yield from self._parsed(part, parts)
                        continue
                first = self._line
                self._line += len(lines)
                yield Block(range(first, self._line), lines=lines, rows=rows)
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

    def _cells(self, lines: list[str]) -> list[list[str]] | None:
        """The cells of each line, if each is a row by itself."""
        rows = self._cells_in_quotes(lines)
        if rows is not None:
            return rows
        try:
            # The line that is added is a row only if no quote is open before it.
            rows = list(csv.reader([*lines, ""], delimiter=self._delimiter))
        except csv.Error:
            return None
        return rows[:-1] if len(rows) == len(lines) + 1 else None

    def _cells_in_quotes(self, lines: list[str]) -> list[list[str]] | None:
        """The same, in half the time, for lines that are empty or have each cell in quotes, and no
        quote within a cell.
        """
        full = [line for line in lines if line]
        text = "\n".join(full)
        if (
            text.count('"\n"') != len(full) - 1
            or not text.startswith('"')
            or not text.endswith('"')
            or min(map(len, full)) < 2
            or max(map(len, full)) > csv.field_size_limit()
        ):
            return None
        between = f'"{self._delimiter}"'
        rows = [line[1:-1].split(between) if line else [] for line in lines]
        # Those around each line and between its cells, so that there is no other.
        if text.count('"') != 2 * sum(map(len, rows)):
            return None
        return rows

    def _parsed(self, part: str, following: Iterator[str]) -> Iterator[Block]:
        """The rows of a part, and of those that follow as far as a quote reaches into them."""
        # The lines that the parser was given and that are in no block yet, how many there were
        # before them, and whether it asked for more than there are, in the middle of a row.
        given, before, open_end = list(io.StringIO(part, newline="\n")), 0, False
        first = self._line

        def source() -> Iterator[str]:
            nonlocal open_end
            yield from list(given)
            row, length = 0, 0
            for more in following:
                row, length = self._line, length + len(more) if row == self._line else len(more)
                if length > 2 * MAX_LINE:
                    raise IntakeError(
                        "row_too_long",
                        f"the row that begins here is longer than {2 * MAX_LINE:,} characters."
                        " Perhaps a quote is left open.",
                        line=self._line,
                    )
                added = list(io.StringIO(more, newline="\n"))
                given.extend(added)
                yield from added
            open_end = True

        reader = csv.reader(source(), delimiter=self._delimiter)
        numbers, lines, rows = [], [], []
        start = characters = 0
        while start < len(given):
            rows.append(next(reader))
            end = reader.line_num - before
            line = given[start] if end == start + 1 else "".join(given[start:end])
            lines.append(f'{line}"' if open_end else line.removesuffix("\n"))
            numbers.append(self._line)
            characters += len(line)
            start, self._line = end, first + reader.line_num
            if len(rows) == BLOCK_ROWS or characters >= BLOCK:
                yield Block(numbers, lines=lines, rows=rows)
                numbers, lines, rows = [], [], []
                del given[:start]
                before, start, characters = reader.line_num, 0, 0
        if rows:
            yield Block(numbers, lines=lines, rows=rows)

    def _parts(self, text: io.TextIOWrapper) -> Iterator[str]:
        """The text in parts of whole lines. Raises IntakeError for what no text file contains."""
        rest, lines = "", 0
        while block := text.read(BLOCK):
            if "\0" in block:
                lines += block.count("\n", 0, block.index("\0")) + 1
                raise _binary(block, lines)
            end = block.rfind("\n") + 1
            if len(rest) + (block.index("\n") if end else len(block)) > MAX_LINE:
                raise IntakeError(
                    "line_too_long",
                    f"it is longer than {MAX_LINE:,} characters. Put one address on each line.",
                    line=lines + 1,
                )
            lines += block.count("\n")
            if end:
                yield rest + block[:end]
                rest = block[end:]
            else:
                rest += block
        if rest:
            yield rest

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

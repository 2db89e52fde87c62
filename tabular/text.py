"""Reads the rows of a text file: CSV with any delimiter, or a list of addresses.

Most files have no quotes, or few. Lines without quotes need no parser: they are passed on whole.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from runtime import texts
from tabular.addresses import addresses_in, end_of_complete
from tabular.block import Block
from tabular.formats import Format, IntakeError

# Characters that are read and parsed at once. With four times as many, the strings made of them no
# longer fit into the processor's nearest cache, and results take up to half as long again; with
# half as many, NumPy's calls, which take as long for few rows, are a tenth of all time.
BLOCK = 1 << 16
# The most rows of a block of plain text, even if most of them are blank.
MOST_ROWS = 10_000
# Characters of the longest line that is accepted; a row with line breaks may have twice as many. No
# step of reading, checking or writing such a line takes more than some 5 ms.
MAX_LINE = 1 << 18
# The most lines of a cell that have an address and a delimiter. More such lines are probably rows
# that a quotation mark has swallowed because it was left open.
MAX_SWALLOWED = 3
# The character that programs of DOS, and some of today's, write at the end of a text.
CTRL_Z = "\x1a"
# Rows at which a block ends that is made row by row, as of quoted text, workbooks and documents. It
# also ends with the row that makes it BLOCK characters long.
BLOCK_ROWS = 2_000

# An error handler that puts NUL, which no text file has, for undecodable bytes, to find their line.
codecs.register_error("mark_by_nul", lambda error: ("\0", error.end))  # type: ignore[attr-defined]


class _ListRows:
    """The addresses of a list, each with its line and its place on that line."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._addresses: list[str] = []
        self._parts: list[int] = []

    def add(self, text: str, line: int, part: int) -> int:
        """Add the addresses in a line, or in its next piece; return how many they are.

        part: the number of addresses before them on the line.
        """
        if part and not text.strip(" ,;\t"):
            return 0
        found = addresses_in(text) or [""]
        self._numbers += [line] * len(found)
        self._addresses += found
        self._parts += range(part, part + len(found))
        return len(found)

    def block(self) -> Block:
        rows = [[address] for address in self._addresses]
        return Block(self._numbers, None, rows, self._addresses, self._parts)


class Text:
    """Reads a text file, once.

    cut: whether it is only the first part of a file, so that a quote may be open at its end.
    """

    def __init__(self, file: BinaryIO, found: Format, *, cut: bool = False) -> None:
        self._file = file
        self._lets_quotes_open = cut or not found.strict
        self._format = found
        self._delimiter = found.separator
        # The line that the next row begins on.
        self._line = 1

    def blocks(self) -> Iterator[Block]:
        """Yield all rows, from where the file is. Raises IntakeError; the file is left open."""
        text = io.TextIOWrapper(self._file, self._format.encoding, newline=None)
        try:
            if self._format.kind == "list":
                yield from self._list_blocks(text)
                return
            pieces = self._whole_lines(text)
            for piece in pieces:
                if _is_plain(piece):
                    yield from self._plain_blocks(piece)
                    continue
                lines = _lines(piece)
                rows = self._cells_in_quotes(lines) or self._cells(lines)
                if rows is None:
                    yield from self._parsed(piece, pieces)
                else:
                    yield Block(self._next_numbers(len(lines)), lines, rows)
        except UnicodeError:
            raise IntakeError(
                "undecodable",
                f"this is not {self._format.encoding} text. Save the file as CSV in UTF-8 and"
                " upload it again, or name its encoding.",
                line=self._undecodable_line(),
            ) from None
        except csv.Error:
            # The only error of a reader that isn't strict, for lines without carriage returns.
            raise IntakeError(
                "cell_too_long",
                f"this row has a cell of more than {csv.field_size_limit():,} characters. Shorten"
                " it or delete it. Perhaps a quotation mark is left open.",
                line=self._line,
            ) from None
        finally:
            text.detach()  # the file is the caller's to close

    def _plain_blocks(self, piece: str) -> Iterator[Block]:
        number = texts.count(b"\n", piece.encode()) + (not piece.endswith("\n"))
        if number <= MOST_ROWS:
            yield Block(self._next_numbers(number), text=piece)
            return
        lines = _lines(piece)
        for start in range(0, number, MOST_ROWS):
            part = lines[start : start + MOST_ROWS]
            yield Block(self._next_numbers(len(part)), part)

    def _next_numbers(self, rows: int) -> range:
        """Return the numbers of the next rows, each of which is on a line."""
        first = self._line
        self._line += rows
        return range(first, self._line)

    def _list_blocks(self, text: io.TextIOWrapper) -> Iterator[Block]:
        """Yield each address as a row of its own; a line may be as long as the file."""
        rest, part, ended = "", 0, False
        pieces = self._read(text)
        while not ended:
            read = next(pieces, "")
            if "\0" in read:
                raise _binary(read, self._line + read.count("\n", 0, read.index("\0")))
            ended = not read
            *lines, rest = (rest + read).split("\n")
            if ended:
                lines, rest = [rest] if rest else [], ""
            rows = _ListRows()
            for line in lines:
                rows.add(line, self._line, part)
                self._line, part = self._line + 1, 0
            if len(rest) >= BLOCK:
                end = end_of_complete(rest)
                if not end and len(rest) > MAX_LINE:
                    raise IntakeError(
                        "line_too_long",
                        f"nothing separates {MAX_LINE:,} characters, or a quote is open. Put"
                        " one address on each line.",
                        line=self._line,
                    )
                if end:
                    part += rows.add(rest[:end], self._line, part)
                    rest = rest[end:]
            if block := rows.block():
                yield block

    def _cells(self, lines: list[str]) -> list[list[str]] | None:
        """Return the cells of each line; None if not every line is a row by itself."""
        try:
            # The added line is a row of its own only if no quote is open before it.
            rows = list(csv.reader([*lines, ""], delimiter=self._delimiter))
        except csv.Error:
            return None
        return rows[:-1] if len(rows) == len(lines) + 1 else None

    def _cells_in_quotes(self, lines: list[str]) -> list[list[str]] | None:
        """Return what _cells() does, in half the time; None if a line is of another kind.

        Each line must be empty, or have all cells in quotes and no quote within a cell.
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
        # No quotes but those around cells.
        if text.count('"') != 2 * sum(map(len, rows)):
            return None
        return rows

    def _parsed(self, piece: str, following: Iterator[str]) -> Iterator[Block]:
        """Yield the rows of a piece, and of the pieces that its last row reaches into."""
        # Lines that the parser was given; those from `start` on are not in `lines` yet.
        given, start = _split(piece), 0

        def source() -> Iterator[str]:
            added = given.copy()
            while True:
                yield from added
                if sum(map(len, given[start:])) > 2 * MAX_LINE:
                    raise IntakeError(
                        "row_too_long",
                        f"the row that begins here is longer than {2 * MAX_LINE:,} characters."
                        " Perhaps a quote is left open.",
                        line=self._line,
                    )
                more = next(following, None)
                if more is None and not self._lets_quotes_open:
                    raise self._open_quote("no quote closes it before the end of the file")
                if more is None:
                    given[-1] += '"'
                    return
                added = _split(more)
                given.extend(added)

        reader = csv.reader(source(), delimiter=self._delimiter)
        first = self._line
        numbers, lines, rows, characters = [], [], [], 0
        while start < len(given):
            rows.append(next(reader))
            end = start + first + reader.line_num - self._line
            if end - start > 1 and self._format.strict:
                self._check_quotes(given[start:end], rows[-1])
            lines.append("".join(given[start:end]).removesuffix("\n"))
            numbers.append(self._line)
            characters += len(lines[-1])
            start, self._line = end, first + reader.line_num
            if len(rows) == BLOCK_ROWS or characters >= BLOCK or start == len(given):
                yield Block(numbers, lines, rows)
                numbers, lines, rows, characters = [], [], [], 0
                del given[:start]
                start = 0

    def _check_quotes(self, lines: list[str], row: list[str]) -> None:
        """Raise IntakeError if a row over several lines is probably several rows."""
        try:
            # Strict: a quote that closes a cell must be followed by a delimiter or a line end.
            list(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except csv.Error:
            raise self._open_quote("no quote closes it where a cell may end") from None
        for cell in row:
            swallowed = [n for n in cell.split("\n") if "@" in n and self._delimiter in n]
            if len(swallowed) > MAX_SWALLOWED:
                raise self._open_quote(f"a cell has {len(swallowed):,} lines with addresses")

    def _open_quote(self, why: str) -> IntakeError:
        return IntakeError(
            "open_quote",
            f"a quotation mark opens a cell in the row that begins here, and {why}. Close it, or"
            " remove it.",
            line=self._line,
        )

    def _whole_lines(self, text: io.TextIOWrapper) -> Iterator[str]:
        """Yield the text in pieces of whole lines. Raises IntakeError for NULs and long lines."""
        rest, lines = "", 0
        for block in self._read(text):
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
            lines += texts.count(b"\n", block.encode())
            if end:
                yield rest + block[:end]
                rest = block[end:]
            else:
                rest += block
        if rest:
            yield rest

    def _read(self, text: io.TextIOWrapper) -> Iterator[str]:
        """Yield the text, up to BLOCK characters at a time, without a Ctrl-Z at its end."""
        held = ""
        while read := text.read(BLOCK):
            block = held + read
            held = CTRL_Z if self._format.strict and block.endswith(CTRL_Z) else ""
            if block := block.removesuffix(held):
                yield block

    def _undecodable_line(self) -> int:
        self._file.seek(0)
        text = io.TextIOWrapper(self._file, self._format.encoding, "mark_by_nul", newline=None)
        lines = 1
        while (block := text.read(BLOCK)) and "\0" not in block:
            lines += block.count("\n")
        text.detach()
        return lines + block.partition("\0")[0].count("\n")


def _is_plain(piece: str) -> bool:
    """Tell whether splitting lines at the delimiter gives the cells."""
    if '"' in piece:
        return False
    most = csv.field_size_limit()
    return len(piece) <= most or max(map(len, _lines(piece))) <= most


def _lines(piece: str) -> list[str]:
    return piece.removesuffix("\n").split("\n")


def _split(piece: str) -> list[str]:
    """Return the lines of a piece with their line breaks."""
    return list(io.StringIO(piece, newline="\n"))


def _binary(block: str, line: int) -> IntakeError:
    advice = "there is a NUL byte, so this is not a text file. Save it as CSV in UTF-8."
    if block.count("\0", 0, 1000) > len(block[:1000]) // 3:
        advice = (
            "every other byte is NUL, as in UTF-16 without a byte order mark. Save the file as CSV"
            " in UTF-8, or name its encoding, utf-16-le or utf-16-be."
        )
    return IntakeError("binary_file", advice, line=line)

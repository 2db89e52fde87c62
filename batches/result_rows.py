"""Writes the rows of a file with RESULT_COLUMNS added, and behind them the processor's answers.

Each row is its line as it was written, continued with its result columns. Most rows are emails that
were processed without a reason or an answer, whose result columns are the same but for the normal
form. The text of many rows is searched for formulas at once.
"""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Literal, NamedTuple

from processors import providers, reasons, risks, syntax
from runtime.texts import Texts
from tabular.addresses import addresses_in, odd_cells
from tabular.block import Block
from tabular.columns import address_cells, untaken
from tabular.formats import RESULT_COLUMNS, Format
from tabular.formulas import Defuser, undefused


class RowResult(NamedTuple):
    """The result of one row.

    line: the line of the file that the row begins on.
    status: the status of the email, or the kind of a row without one.
    reason: the code of the email's reason, if it has one.
    first_row: the line that a duplicate repeats.
    part: the place of a duplicate in its row, from 0.
    id: the id of the email; 0 for a row without one.
    answers: a JSON object with the email's answers; None if it has none.
    """

    line: int
    status: str
    reason: str | None = None
    first_row: int | None = None
    part: int = 0
    id: int = 0
    answers: str | None = None

    @property
    def is_email(self) -> bool:
        return self.status in reasons.STATUSES

    @property
    def is_plain(self) -> bool:
        """Whether this is an email that was processed without a reason or an answer."""
        return self.status == "processed" and self.reason is self.answers is None


# Rows of a block that are not plain: the position of each, in order, and its result, None for the
# header.
Others = Sequence[tuple[int, RowResult | None]]
# Cells in one piece of text, where each row counts as being as wide as the widest of the file.
MAX_CELLS = 1 << 16


def taken_apart(block: Block, found: Format, above: int) -> Block:
    """Return the block with a row for each address; most blocks stay as they are.

    A row with one address stays as it is written. A row with several becomes as many rows, each
    with one of the addresses in its cell.

    above: how many rows of the block are the header or above it; these stay, too.
    """
    if found.cells == "whole" or block.parts is not None:
        return block
    rows = block.cells(found.delimiter or ",")
    cells = address_cells(rows, found)
    there = {
        position: addresses_in(cells[position], split=found.splits) or [""]
        for position in odd_cells(Texts.of(cells))
        if position >= above
    }
    if all(len(addresses) == 1 for addresses in there.values()):
        for position, (address,) in there.items():
            cells[position] = address
        return block.with_addresses(cells) if there else block
    numbers: list[int] = []
    lines: list[str] = []
    apart: list[list[str]] = []
    each_row = [there.get(position, [cell]) for position, cell in enumerate(cells)]
    for position, addresses in enumerate(each_row):
        numbers += [block.numbers[position]] * len(addresses)
        if len(addresses) == 1:
            apart.append(rows[position])
            lines += block.lines[position : position + 1] if block.lines else []
            continue
        row = rows[position]
        several = [[*row[: found.column], each, *row[found.column + 1 :]] for each in addresses]
        apart += several
        lines += _csv_lines(several, found.delimiter or ",") if block.lines else []
    parts = [part for addresses in each_row for part in range(len(addresses))]
    return Block(numbers, lines or None, apart, [*chain.from_iterable(each_row)], parts)


class ResultWriter:
    """Writes the rows of one file as pieces of UTF-8 text."""

    def __init__(self, found: Format, answers: Sequence[str] = (), *, defuses: bool) -> None:
        """Prepare for a file of this format.

        answers: the names of the answers that get a column.
        defuses: whether an apostrophe is put before each formula.
        """
        self._format = found
        self._delimiter = found.delimiter or ","
        self._encoded = Defuser(self._delimiter).defused if defuses else str.encode
        self._answers = answers
        self._rows = max(1, MAX_CELLS // (found.columns + len(answers)))
        # Results that were uploaded again lose their old result columns, and keep the cells that
        # somebody added behind those.
        self._old = frozenset(found.result_columns)
        self._width = found.columns - len(self._old)
        self._joined = self._delimiter.join
        self._ok = self._joined(["", _outcome("processed", None, "", self._delimiter), "", ""])
        # The end of a row without an answer, whether it is an email or not; and that of a plain
        # one by whether its domain is a free provider's.
        self._end = f"{self._delimiter * len(answers)}\n"
        self._ends = tuple(
            f"{self._delimiter}{_told(is_free=free)}{self._end}" for free in (False, True)
        )

    @property
    def width(self) -> int:
        """The number of cells in each row."""
        return self._width + len(RESULT_COLUMNS) + len(self._answers)

    @property
    def verdict_column(self) -> int:
        """The position of the column with the verdict, from 0."""
        return self._width + RESULT_COLUMNS.index("verdict")

    def header(self) -> bytes:
        """Return a header row, for a file without one."""
        names = [f"column {number}" for number in range(1, self._width + 1)]
        names[self._format.column] = "email"
        added = self._joined(RESULT_COLUMNS)
        return self._encoded(f"{self._joined(names)}{self._delimiter}{added}{self._names(names)}")

    def pieces(self, block: Block, others: Others) -> Iterator[bytes]:
        """Yield the block's rows. A piece has MAX_CELLS cells at most, or one row."""
        for start in range(0, len(block), self._rows):
            stop = start + self._rows
            begin, end = (bisect_left(others, at, key=itemgetter(0)) for at in (start, stop))
            here = [(position - start, result) for position, result in others[begin:end]]
            yield self._encoded(self._text(block.part(start, stop), here))

    def _text(self, block: Block, others: Others) -> str:
        lines, addresses = self._lines(block)
        # Each row has four parts: its line, its result columns, its normal form, and its last
        # columns with a line break. The second part of `others` has all but the answers.
        parts = ["", self._ok, "", self._end] * len(lines)
        parts[::4] = lines
        parts[2::4], parts[3::4] = self._forms_and_ends(addresses, others)
        for position, result in others:
            parts[4 * position + 1] = self._columns(result, addresses[position])
            if self._answers:
                parts[4 * position + 3] = self._last(result, block, position)
        text = "".join(parts)
        # Only a workbook's cells have a CR. Spreadsheets read it right if all cells are in quotes.
        return "".join(_quoted_lines(text, self._delimiter)) if "\r" in text else text

    def _lines(self, block: Block) -> tuple[list[str], list[str]]:
        """Return each row's line, filled up to the width of the file, and each row's address."""
        lines, addresses = self._lines_and_cells(block)
        return lines, addresses if block.addresses is None else [*block.addresses]

    def _lines_and_cells(self, block: Block) -> tuple[list[str], list[str]]:
        delimiter, column, width = self._delimiter, self._format.column, self._width
        if block.lines is None or self._format.is_results:
            return self._new_lines(block.cells(delimiter))
        lines, rows = block.lines, block.rows
        if rows is None:
            cells = delimiter.join(lines).split(delimiter)
            # No row is wider than `width`: if all have `width` cells on average, each has.
            if len(cells) < len(lines) * width:
                lines = [line + delimiter * (width - 1 - line.count(delimiter)) for line in lines]
                cells = delimiter.join(lines).split(delimiter)
            return lines, [*map(str.strip, cells[column::width])]
        lines = [
            line if len(row) == width else line + delimiter * (width - (len(row) or 1))
            for line, row in zip(lines, rows, strict=True)
        ]
        return lines, [row[column].strip() if len(row) > column else "" for row in rows]

    def _new_lines(self, rows: Sequence[list[str]]) -> tuple[list[str], list[str]]:
        """Return new lines, for a workbook's rows and for results that were uploaded again."""
        column, old = self._format.column, self._old
        addresses = [row[column] if len(row) > column else "" for row in rows]
        if old:
            rows = [[undefused(cell) for n, cell in enumerate(row) if n not in old] for row in rows]
            addresses = [*map(undefused, addresses)]
        # One more cell: of a row with one empty cell, csv would make a pair of quotes.
        filled = [row + [""] * (self._width + 1 - len(row)) for row in rows]
        lines = [line[:-1] for line in _csv_lines(filled, self._delimiter)]
        return lines, [*map(str.strip, addresses)]

    def _forms_and_ends(self, addresses: list[str], others: Others) -> tuple[list[str], list[str]]:
        """Return the normal form and the end of each row; of `others`, no form or free provider."""
        plain = addresses.copy()
        for position, _ in reversed(others):
            del plain[position]
        forms, domains = syntax.normal_forms(plain)
        unfree, free = self._ends
        ends = [free if domain in providers.FREE else unfree for domain in domains]
        if self._delimiter == "|":
            forms = [*map(self._cell, forms)]
        for position, _ in others:
            forms.insert(position, "")
            ends.insert(position, self._end)
        return forms, ends

    def _columns(self, result: RowResult | None, address: str) -> str:
        """Return the result columns behind a row's line, or their names for the header."""
        if result is None:
            return self._joined(["", *RESULT_COLUMNS])
        if result.first_row is not None:
            explanation = f"This address is on line {result.first_row} already."
            return self._joined(["", "duplicate", "", "", explanation, "", "", ""])
        suggestion = form = free = ""
        if result.is_email:
            _, normalized, domain = syntax.parsed(address, result.reason)
            suggestion = self._cell(risks.suggestion(address, result.reason))
            form = self._cell(normalized or "")
            free = _told(is_free=providers.is_free(domain))
        explanation = reasons.explanation(result.reason, address)
        outcome = _outcome(result.status, result.reason, explanation, self._delimiter)
        return self._joined(["", outcome, suggestion, form, free])

    def _last(self, result: RowResult | None, block: Block, position: int) -> str:
        """Return the answers of a row and a line break, or their names for the header."""
        if result is None:
            own = block.cells(self._delimiter)[position]
            if self._old:
                own = [undefused(cell) for n, cell in enumerate(own) if n not in self._old]
            return self._names(own)
        if result.answers is None:
            return self._end
        answers = json.loads(result.answers)
        return self._continued([answers.get(name, "") for name in self._answers])

    def _names(self, own: Sequence[str]) -> str:
        """Return the end of the header of a file that has columns with these names of its own."""
        return self._continued(distinct(self._answers, [*own, *RESULT_COLUMNS]))

    def _continued(self, cells: Sequence[str]) -> str:
        """Return the last cells of a row, and a line break."""
        # One more cell, as in _new_lines().
        return f"{next(_csv_lines([['', *cells, '']], self._delimiter))[:-1]}\n"

    def _cell(self, address: str) -> str:
        """Return a well-formed address as a cell; of all delimiters, only | may be in one."""
        return f'"{address}"' if self._delimiter in address else address


class RowWriter(ResultWriter):
    """Writes the rows of one file as they were written, without result columns."""

    def header(self) -> bytes:
        """Return nothing: a file without a header stays without one."""
        return b""

    def _text(self, block: Block, others: Others) -> str:
        if block.lines is None or self._format.is_results:
            lines, _ = self._new_lines(block.cells(self._delimiter))
        else:
            lines = block.lines
        return "".join(f"{line}\n" for line in lines)


def distinct(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the names, of which those that are used already get a number, as in "status (2)".

    Case doesn't count.
    """

    def key(name: str) -> str:
        return name.strip().casefold()

    used = {*map(key, others)}
    found = []
    for name in names:
        found.append(untaken(name, used, key))
        used.add(key(found[-1]))
    return found


def _told(*, is_free: bool) -> str:
    """Return a cell that says whether an address is one of a free provider."""
    return "true" if is_free else "false"


@lru_cache(1 << 10)
def _outcome(status: str, reason: str | None, explanation: str, delimiter: str) -> str:
    """Return the status, verdict, reason and explanation of a row other than a duplicate."""
    if status == "blank":
        cells = ["", "", "", ""]
    elif status == "without_address":
        cells = [status, "", "", "This row has no address."]
    else:
        verdict = reasons.verdict(status, reason) or ""
        cells = [status, verdict, reason or "", explanation]
    return next(_csv_lines([cells], delimiter))


class _Lines(list[str]):
    """A file for csv.writer(), which calls write() once a row."""

    write = list.append


def _csv_lines(
    rows: Iterable[Sequence[str]], delimiter: str, quoting: Literal[0, 1] = csv.QUOTE_MINIMAL
) -> Iterator[str]:
    lines = _Lines()
    # Older Pythons put a cell with a CR in quotes only if lines end with one.
    csv.writer(lines, delimiter=delimiter, lineterminator="\r\n", quoting=quoting).writerows(rows)
    return (line.removesuffix("\r\n") for line in lines)


def _quoted_lines(text: str, delimiter: str) -> Iterator[str]:
    """Return the rows of a text with each cell in quotes."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return (f"{line}\n" for line in _csv_lines(rows, delimiter, csv.QUOTE_ALL))

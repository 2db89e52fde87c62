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
from runtime import texts
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
    def is_plain(self) -> bool:
        """Whether this is an email that was processed without a reason or an answer."""
        return self.status == "processed" and self.reason is self.answers is None


# Rows of a block that are not plain: the position of each, in order, and its result, None for the
# header.
Others = Sequence[tuple[int, RowResult | None]]
# Cells in one piece of text beside RESULT_COLUMNS, where each row counts as being as wide as the
# widest of the file.
MAX_CELLS = 1 << 16
# Domains that are remembered for the next rows.
MAX_DOMAINS = 1 << 15


def taken_apart(block: Block, found: Format, above: int) -> Block:
    """Return the block with the address of each row, and with a row for each address.

    A row with one address stays as it is written. A row with several becomes as many rows, each
    with one of the addresses in its cell.

    above: how many rows of the block are the header or above it; these stay, too.
    """
    if block.parts is not None:  # the rows of a list are addresses already
        return block
    cells = _address_cells(block, found)
    if found.cells == "whole":
        return block.with_addresses(cells)
    there = {
        position: addresses_in(cells[position], split=found.splits) or [""]
        for position in odd_cells(Texts.of(cells))
        if position >= above
    }
    if all(len(addresses) == 1 for addresses in there.values()):
        for position, (address,) in there.items():
            cells[position] = address
        return block.with_addresses(cells)
    rows = block.cells(found.separator)
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
        lines += _csv_lines(several, found.separator) if block.lines else []
    parts = [part for addresses in each_row for part in range(len(addresses))]
    return Block(numbers, lines or None, apart, [*chain.from_iterable(each_row)], parts)


def _address_cells(block: Block, found: Format) -> list[str]:
    """Return each row's cell in the address column, stripped; empty if the row is too short."""
    delimiter = found.separator
    if block.rows is None and block.lines and not found.is_results:
        # Splitting all rows at once takes a third of the time. If there are as many cells as in
        # rows of the file's width, each row has that width, because none is wider.
        cells = delimiter.join(block.lines).split(delimiter)
        if len(cells) == len(block) * found.columns:
            return [*map(str.strip, cells[found.column :: found.columns])]
    return address_cells(block.cells(delimiter), found)


class _Ends(dict[str, str]):
    """The last columns of a plain row, by its domain; empty unless the domain is_normal()."""

    def __init__(self, unfree: str, free: str) -> None:
        """Set the last columns for other domains than free providers', and for these."""
        super().__init__()
        self._ends = (unfree, free)

    def __missing__(self, domain: str) -> str:
        if len(self) > MAX_DOMAINS:
            self.clear()
        end = self._ends[domain in providers.FREE] if syntax.is_normal(domain) else ""
        self[domain] = end
        return end


class ResultWriter:
    """Writes the rows of one file as pieces of UTF-8 text."""

    def __init__(self, found: Format, answers: Sequence[str] = (), *, defuses: bool) -> None:
        """Prepare for a file of this format.

        answers: the names of the answers that get a column.
        defuses: whether an apostrophe is put before each formula.
        """
        self._format = found
        self._delimiter = found.separator
        self._encoded = Defuser(self._delimiter).defused if defuses else str.encode
        self._answers = answers
        self._rows = max(1, MAX_CELLS // (found.columns + len(answers)))
        # Results that were uploaded again lose their old result columns, and keep the cells that
        # somebody added behind those.
        self._old = frozenset(found.result_columns)
        self._width = found.columns - len(self._old)
        self._joined = self._delimiter.join
        # What is between the line and the normal form of a plain row.
        self._ok = _outcome_columns("processed", None, "", "", self._delimiter)
        # The last columns of a row without an answer; and with the one before them, which says
        # whether the address is one of a free provider.
        self._end = f"{self._delimiter * len(answers)}\n"
        self._unfree, self._free = (
            f"{self._delimiter}{free}{self._end}" for free in ("false", "true")
        )
        self._ends = _Ends(self._unfree, self._free)

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
        """Yield the block's rows in pieces of MAX_CELLS cells at most, or of one row."""
        if len(block) <= self._rows:
            yield self._encoded(self._text(block, others))
            return
        for start in range(0, len(block), self._rows):
            stop = start + self._rows
            begin, end = (bisect_left(others, at, key=itemgetter(0)) for at in (start, stop))
            here = [(position - start, result) for position, result in others[begin:end]]
            yield self._encoded(self._text(block.part(start, stop), here))

    def _text(self, block: Block, others: Others) -> str:
        lines, forms = self._lines(block), [*(block.addresses or ())]
        # Most addresses are their own normal form.
        ends = [*map(self._ends.__getitem__, syntax.domains(forms))]
        # Each row has four parts: its line, its first result columns, its normal form, and its last
        # columns with a line break.
        parts = ["", self._ok, "", ""] * len(lines)
        parts[::4] = lines
        for position, result in others:
            columns, end = self._columns(result, forms[position])
            parts[4 * position + 1] = columns
            if end is not None:
                forms[position], ends[position] = "", end
        if "" in ends:
            self._complete(forms, ends)
        parts[2::4] = [*map(self._cell, forms)] if self._delimiter == "|" else forms
        parts[3::4] = ends
        if self._answers:
            for position, result in others:
                before = ends[position].removesuffix(self._end)
                parts[4 * position + 3] = before + self._last(result, block, position)
        text = "".join(parts)
        # Only a workbook's cells have a CR. Spreadsheets read it right if all cells are in quotes.
        return "".join(_quoted_lines(text, self._delimiter)) if "\r" in text else text

    def _complete(self, forms: list[str], ends: list[str]) -> None:
        """Find the normal forms and the ends of the rows that have no end yet."""
        for position in [position for position, end in enumerate(ends) if not end]:
            _, normalized, domain = syntax.parse(forms[position])
            forms[position] = normalized or ""
            ends[position] = self._free if providers.is_free(domain) else self._unfree

    def _lines(self, block: Block) -> list[str]:
        """Return each row's line, filled up to the width of the file."""
        delimiter, width = self._delimiter, self._width
        lines, rows = block.lines, block.rows
        if lines is None or self._format.is_results:
            return self._new_lines(block.cells(delimiter))
        if rows is None:
            # No row is wider than the file: if all have its width on average, each has.
            together = "".join(lines).encode()
            if texts.count(delimiter.encode(), together) == len(lines) * (width - 1):
                return lines
            return [line + delimiter * (width - 1 - line.count(delimiter)) for line in lines]
        return [
            line if len(row) == width else line + delimiter * (width - (len(row) or 1))
            for line, row in zip(lines, rows, strict=True)
        ]

    def _new_lines(self, rows: Sequence[list[str]]) -> list[str]:
        """Return new lines, for a workbook's rows and for results that were uploaded again."""
        old = self._old
        if old:
            rows = [[undefused(cell) for n, cell in enumerate(row) if n not in old] for row in rows]
        # One more cell: of a row with one empty cell, csv would make a pair of quotes.
        filled = [row + [""] * (self._width + 1 - len(row)) for row in rows]
        return [line[:-1] for line in _csv_lines(filled, self._delimiter)]

    def _columns(self, result: RowResult | None, address: str) -> tuple[str, str | None]:
        """Return what is between a row's line and its normal form, and the end of a row without it.

        Of the header, and of a row that is no email, the first has all result columns.
        """
        if result is None:
            return self._joined(["", *RESULT_COLUMNS]), self._end
        if result.first_row is not None:
            explanation = f"This address is on line {result.first_row} already."
            return self._joined(["", "duplicate", "", "", explanation, "", "", ""]), self._end
        status, reason = result.status, result.reason
        if status not in reasons.STATUSES:
            columns = _outcome_columns(status, reason, "", "", self._delimiter)
            return columns + self._delimiter, self._end
        if reason in syntax.MALFORMED:
            explanation = reasons.explanation(reason, address)
            return _outcome_columns(status, reason, explanation, "", self._delimiter), self._unfree
        suggestion = self._cell(risks.suggestion(address, reason))
        explanation = reasons.explanation(reason)
        return _outcome_columns(status, reason, explanation, suggestion, self._delimiter), None

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
            lines = self._new_lines(block.cells(self._delimiter))
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


@lru_cache(1 << 10)
def _outcome_columns(
    status: str, reason: str | None, explanation: str, suggestion: str, delimiter: str
) -> str:
    """Return what is between the line and the normal form of a row that is no duplicate.

    suggestion: as a cell.
    """
    if status == "blank":
        cells = ["", "", "", ""]
    elif status == "without_address":
        cells = [status, "", "", "This row has no address."]
    else:
        verdict = reasons.verdict(status, reason) or ""
        cells = [status, verdict, reason or "", explanation]
    (outcome,) = _csv_lines([cells], delimiter)
    return delimiter.join(["", outcome, suggestion, ""])


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

"""Writes the rows of a file as text, with RESULT_COLUMNS behind them: the outcome of each row.

Most rows are lines without quotes whose email was processed without a reason; their cells are
neither parsed nor quoted one by one. The text of all rows is searched for formulas at the end.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from processors import reasons, risks, syntax
from tabular.formats import RESULT_COLUMNS, Format
from tabular.formulas import Defuser, undefused
from tabular.text import Block


class Known(NamedTuple):
    """The outcome of one row.

    `line` is the line of the file that the row begins on.
    `status` is an email's, or says why the row has none.
    `reason` is the code of the reason, if there is one.
    `first_row` is the line that a duplicate repeats.
    """

    line: int
    status: str
    reason: str | None = None
    first_row: int | None = None

    @property
    def is_email(self) -> bool:
        return self.status in reasons.STATUSES

    @property
    def verdict(self) -> str | None:
        return reasons.verdict(self.status, self.reason) if self.is_email else None


_OK = Known(0, "processed")
# Cells that are written at once; every row counts as being as wide as the widest of the file.
MAX_CELLS = 1 << 16


# Rows of a block whose outcome isn't the usual one, in order: position and outcome, None for the
# header.
Others = Sequence[tuple[int, Known | None]]


class Answers:
    """Writes the rows of one file as texts of whole lines."""

    def __init__(self, found: Format) -> None:
        self._delimiter = found.delimiter or ","
        self._rows = max(1, MAX_CELLS // found.columns)
        # Results that were uploaded again can't be written by line: the old result columns must go.
        self._has_lines = not found.is_results
        # A quoted address may contain |, and then its normal form needs quotes, too.
        self._has_quoted = self._delimiter != "|"
        self._defused = Defuser(self._delimiter).defused
        self._cells = _Cells(found, self._delimiter)
        self._lines = _Lines(found, self._delimiter)
        self._quoted = _Quoted(found, self._delimiter)

    def header(self) -> bytes:
        """Return a header row, for a file without one."""
        return self._defused(self._cells.text([self._cells.names()]))

    def pieces(self, block: Block, others: Others, verdict: str | None) -> Iterator[bytes]:
        """Yield the block's rows, or only those with the verdict, as UTF-8.

        A piece has MAX_CELLS, or one row.

        All rows but `others` are emails that were processed without a reason.
        """
        end = 0
        for start in range(0, len(block), self._rows):
            stop = start + self._rows
            begin, end = end, bisect_left(others, stop, lo=end, key=itemgetter(0))
            here = [(position - start, known) for position, known in others[begin:end]]
            text = self._written(block.part(start, stop), here, verdict)
            if text:
                yield self._defused(text)

    def _written(self, block: Block, others: Others, verdict: str | None) -> str:
        if self._has_lines and block.lines is not None:
            if block.rows is None:
                return "".join(_answered(self._lines, block.lines, others, verdict))
            if self._has_quoted:
                rows = list(zip(block.lines, block.rows, strict=True))
                return "".join(_answered(self._quoted, rows, others, verdict))
        cells = block.cells(self._delimiter)
        return self._cells.text(_answered(self._cells, cells, others, verdict))


def _answered(
    write: _Cells | _Lines | _Quoted, rows: Sequence[Any], others: Others, verdict: str | None
) -> list[Any]:
    """Return the rows with their results; all that are not among `others` are written at once."""
    unknown: list[Any] = []
    here = 0
    for position, _ in others:
        unknown += rows[here:position]
        here = position + 1
    unknown += rows[here:]
    ok = write.ok(unknown) if verdict in (None, "ok") else []
    answered: list[Any] = []
    here = taken = 0
    for position, known in others:
        answered += ok[taken : (taken := taken + position - here)]
        if known is None:
            answered.append(write.header(rows[position]))
        elif verdict in (None, known.verdict):
            answered.append(write.known(rows[position], known))
        here = position + 1
    answered += ok[taken:]
    return answered


class _Cells:
    """Writes rows that are given as cells."""

    def __init__(self, found: Format, delimiter: str) -> None:
        self._format = found
        self._delimiter = delimiter
        # Of results that were uploaded again, the old result columns are removed; cells that
        # somebody added behind them stay.
        end = len(found.header or ())
        self._old = range(end - len(RESULT_COLUMNS), end) if found.is_results else range(0)
        self._width = found.columns - len(self._old)

    def names(self) -> list[str]:
        names = [f"column {number}" for number in range(1, self._width + 1)]
        names[self._format.column] = "email"
        return [*names, *RESULT_COLUMNS]

    def header(self, cells: list[str]) -> list[str]:
        return [*self._filled(cells), *RESULT_COLUMNS]

    def ok(self, rows: Iterable[list[str]]) -> list[list[str]]:
        return [self.known(cells, _OK) for cells in rows]

    def known(self, cells: list[str], known: Known) -> list[str]:
        column = self._format.column
        address = cells[column] if len(cells) > column else ""
        if self._format.is_results:
            address = undefused(address)
        return [*self._filled(cells), *_answer(known), *_forms(address.strip(), known)]

    def _filled(self, cells: list[str]) -> list[str]:
        own = cells
        if self._format.is_results:
            own = [*map(undefused, cells[: self._old.start] + cells[self._old.stop :])]
        return [*own, *[""] * (self._width - len(own))]

    def text(self, rows: list[list[str]]) -> str:
        text = _csv(rows, self._delimiter)
        # Older Pythons don't quote a cell for its CR, at which readers would end the row.
        return _csv(rows, self._delimiter, csv.QUOTE_ALL) if "\r" in text else text


class _Text:
    """Writes rows as their lines in the file, continued with the result columns.

    A normal form needs no quotes there: it has a delimiter only if the address has.
    """

    def __init__(self, found: Format, delimiter: str) -> None:
        self._delimiter = delimiter
        self._column = found.column
        self._width = found.columns
        self._tails: dict[tuple[str, str | None], str] = {}

    def _headed(self, line: str, columns: int) -> str:
        missing = [""] * (self._width - columns)
        return self._delimiter.join([line, *missing, *RESULT_COLUMNS]) + "\n"

    def _ok(self, lines: list[str], cells: list[str]) -> list[str]:
        """Continue lines of the full width; `cells` are the cells with their addresses."""
        forms = syntax.normal_forms([*map(str.strip, cells)])
        middle = self._delimiter.join(["", *_answer(_OK), "", ""])
        return [f"{line}{middle}{form}\n" for line, form in zip(lines, forms, strict=True)]

    def _known(self, line: str, cells: list[str], known: Known) -> str:
        delimiter = self._delimiter
        address = cells[self._column].strip() if len(cells) > self._column else ""
        missing = delimiter * (self._width - (len(cells) or 1))
        forms = delimiter.join(_forms(address, known))
        return f"{line}{missing}{delimiter}{self._answer(known)}{delimiter}{forms}\n"

    def _answer(self, known: Known) -> str:
        if known.first_row is not None:
            return self._delimiter.join(_answer(known))
        key = (known.status, known.reason)
        if key not in self._tails:
            self._tails[key] = _csv([_answer(known)], self._delimiter).removesuffix("\n")
        return self._tails[key]


class _Lines(_Text):
    """Writes rows that are lines without quotes."""

    def header(self, line: str) -> str:
        return self._headed(line, line.count(self._delimiter) + 1)

    def ok(self, lines: list[str]) -> list[str]:
        delimiter, width = self._delimiter, self._width
        if not lines:
            return []
        cells = delimiter.join(lines).split(delimiter)
        # No row is wider than `width`, so if all have `width` cells on average, each has.
        if len(cells) < len(lines) * width:
            lines = [line + delimiter * (width - 1 - line.count(delimiter)) for line in lines]
            cells = delimiter.join(lines).split(delimiter)
        return self._ok(lines, cells[self._column :: width])

    def known(self, line: str, known: Known) -> str:
        return self._known(line, line.split(self._delimiter), known)


class _Quoted(_Text):
    """Writes rows that may have quotes, each given as its line and its cells."""

    def header(self, row: tuple[str, list[str]]) -> str:
        return self._headed(row[0], len(row[1]) or 1)

    def ok(self, rows: list[tuple[str, list[str]]]) -> list[str]:
        delimiter, width, column = self._delimiter, self._width, self._column
        lines = [
            line if len(cells) == width else line + delimiter * (width - len(cells))
            for line, cells in rows
        ]
        return self._ok(lines, [cells[column] for _, cells in rows])

    def known(self, row: tuple[str, list[str]], known: Known) -> str:
        return self._known(*row, known)


def _csv(
    rows: Iterable[Sequence[str]], delimiter: str, quoting: Literal[0, 1] = csv.QUOTE_MINIMAL
) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=quoting)
    writer.writerows(rows)
    return buffer.getvalue()


def _answer(known: Known) -> tuple[str, str, str, str]:
    """Return the status, verdict, reason and explanation of a row."""
    if known.status == "duplicate":
        return "duplicate", "", "", f"This address is on line {known.first_row} already."
    if known.status == "without_address":
        return "without_address", "", "", "This row has no address."
    if known.status == "blank":
        return "", "", "", ""
    return known.status, known.verdict or "", known.reason or "", reasons.explanation(known.reason)


def _forms(address: str, known: Known) -> tuple[str, str]:
    """Return the suggestion for a row's address, and its normal form."""
    if not known.is_email or known.reason in syntax.MALFORMED:
        return "", ""
    suggestion = risks.suggestion(address, known.reason) if known.reason else ""
    return suggestion, syntax.normalized(address)

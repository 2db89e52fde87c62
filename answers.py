"""The rows of a file as text, with RESULT_COLUMNS beside them: what came of each row.

Whatever stands in a file or is put beside it, no cell begins as a formula: a spreadsheet would run
it. Most rows are lines without quotes, of emails of which nothing special is to be said: for them
no cell is parsed or quoted for its own sake.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from formats import FORMULA_STARTS, RESULT_COLUMNS, Format, undefuse
from processors import reasons, risks, syntax
from texts import Block

_DIGITS = r"[0-9]+(?:[.,][0-9]+)*"
_is_number = re.compile(f"[+-]?{_DIGITS}").fullmatch


class Known(NamedTuple):
    """What is known of the row that begins on this line: its status, the reason if there is one,
    and the line that a duplicate repeats.
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


# The rows of a block of which something is known, by position, in order; the header with None.
Others = Sequence[tuple[int, Known | None]]


class Answers:
    """Writes the rows of one file. Each text is of whole lines."""

    def __init__(self, found: Format) -> None:
        self._delimiter = found.delimiter or ","
        # Of results that were uploaded again, the old answers are taken out of the lines.
        self._has_lines = not found.is_results
        # In quotes, an address may have the first in it, and a formula may begin with the second.
        self._has_quoted = self._delimiter not in ("|", "\t")
        self._cells = _Cells(found, self._delimiter)
        self._lines = _Lines(found, self._delimiter)
        self._quoted = _Quoted(found, self._delimiter)

    def header(self) -> bytes:
        """Names of the columns, for a file that has none."""
        return self._cells.text([self._cells.names()])

    def text(self, block: Block, others: Others, verdict: str | None) -> bytes:
        """The block's rows, or only those with the verdict.

        All but `others` are emails that were processed without a reason.
        """
        if self._has_lines and block.lines is not None:
            if block.rows is None:
                return self._lines.text(_answered(self._lines, block.lines, others, verdict))
            if self._has_quoted:
                rows = list(zip(block.lines, block.rows, strict=True))
                content = self._quoted.text(_answered(self._quoted, rows, others, verdict))
                if not self._quoted.may_have_formulas(content):
                    return content
        cells = block.cells(self._delimiter)
        return self._cells.text(_answered(self._cells, cells, others, verdict))


def _answered(
    write: _Cells | _Lines | _Quoted, rows: Sequence[Any], others: Others, verdict: str | None
) -> list[Any]:
    """The rows with their answers; those of which nothing is known are written all at once."""
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
    """Writes rows given as cells."""

    def __init__(self, found: Format, delimiter: str) -> None:
        self._format = found
        self._delimiter = delimiter
        # Results that were uploaded again: the old answers make room.
        self._width = found.columns - (len(RESULT_COLUMNS) if found.is_results else 0)

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
        address = cells[column].strip() if len(cells) > column else ""
        if self._format.is_results:
            address = undefuse(address)
        return [*self._filled(cells), *_answer(known), *_forms(address, known)]

    def _filled(self, cells: list[str]) -> list[str]:
        return [*cells[: self._width], *[""] * (self._width - len(cells))]

    def text(self, rows: Iterable[list[str]]) -> bytes:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=self._delimiter, lineterminator="\n").writerows(
            [[*map(_defused, row)] for row in rows]
        )
        return buffer.getvalue().encode()


class _Text:
    """Writes rows as the lines that they are, which go on with what came of them.

    A normal form needs no quotes there: it has no delimiter that its address has not.
    """

    def __init__(self, found: Format, delimiter: str) -> None:
        self._delimiter = delimiter
        self._column = found.column
        self._width = found.columns
        self._tails: dict[tuple[str, str | None], str] = {}
        # The beginning of a cell that may be a formula and is no number; a line's end must be
        # before the first. To find out that there is none, which is usual, bytes are faster.
        ends, starts = f"{delimiter}\n", "".join(FORMULA_STARTS).replace(delimiter, "")
        self._formula = re.compile(
            rf"[{re.escape(starts)}](?<=[{re.escape(ends)}].)"
            rf"(?!(?<=[+-]){_DIGITS}[{re.escape(ends)}])"
        )
        self._signs = bytes.maketrans(
            (ends + starts).encode(), b"\n" * len(ends) + b"=" * len(starts)
        )

    def _headed(self, line: str, columns: int) -> str:
        missing = [""] * (self._width - columns)
        return self._delimiter.join([line, *missing, *RESULT_COLUMNS]) + "\n"

    def _ok(self, lines: list[str], cells: list[str]) -> list[str]:
        """Lines of the full width, and the cells with their addresses."""
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
            buffer = io.StringIO(newline="")
            csv.writer(buffer, delimiter=self._delimiter, lineterminator="").writerow(
                map(_defused, _answer(known))
            )
            self._tails[key] = buffer.getvalue()
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
        # No row is wider than `width`, so that each is as wide if all together are.
        if len(cells) < len(lines) * width:
            lines = [line + delimiter * (width - 1 - line.count(delimiter)) for line in lines]
            cells = delimiter.join(lines).split(delimiter)
        return self._ok(lines, cells[self._column :: width])

    def known(self, line: str, known: Known) -> str:
        return self._known(line, line.split(self._delimiter), known)

    def text(self, lines: list[str]) -> bytes:
        text = "".join(["\n", *lines])
        content = text.encode()
        if b"\n=" in content.translate(self._signs):
            content = self._formula.sub(r"'\g<0>", text).encode()
        return content[1:]


class _Quoted(_Text):
    """Writes rows that have quotes, given as a line and its cells. It defuses no formulas."""

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

    def text(self, lines: list[str]) -> bytes:
        return "".join(lines).encode()

    def may_have_formulas(self, content: bytes) -> bool:
        """Whether one of the cells may be a formula; it may also be part of a cell."""
        signs = content.translate(self._signs, b'"')
        return signs.startswith(b"=") or b"\n=" in signs


def _defused(cell: str) -> str:
    """The cell, with an apostrophe before it if a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) and not _is_number(cell) else cell


def _answer(known: Known) -> tuple[str, str, str, str]:
    """Status, verdict, reason and explanation of a row."""
    if known.status == "duplicate":
        return "duplicate", "", "", f"This address is on line {known.first_row} already."
    if known.status == "without_address":
        return "without_address", "", "", "This row has no address."
    if known.status == "blank":
        return "", "", "", ""
    return known.status, known.verdict or "", known.reason or "", reasons.explanation(known.reason)


def _forms(address: str, known: Known) -> tuple[str, str]:
    """Suggestion and normal form of a row's address."""
    if not known.is_email or known.reason in syntax.MALFORMED:
        return "", ""
    suggestion = risks.suggestion(address, known.reason) if known.reason else ""
    return suggestion, syntax.normalized(address)

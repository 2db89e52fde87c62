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

_EMAIL_STATUSES = frozenset(("pending", "processed", "failed"))
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
        return self.status in _EMAIL_STATUSES

    @property
    def verdict(self) -> str | None:
        return reasons.verdict(self.status, self.reason) if self.is_email else None


_OK = Known(0, "processed")


# The rows of a block of which something is known, by position, in order; the header with None.
Others = Sequence[tuple[int, Known | None]]


class Answers:
    """Writes the rows of one file. Each text is of whole lines."""

    def __init__(self, found: Format) -> None:
        self._is_results = found.is_results
        self._delimiter = found.delimiter or ","
        self._cells = _Cells(found, self._delimiter)
        self._lines = _Lines(found, self._delimiter)

    def header(self) -> bytes:
        """The names of the columns; there are some even if the file has none."""
        return self._cells.text([self._cells.header()])

    def text(self, block: Block, others: Others, verdict: str | None) -> bytes:
        """The block's rows, or only those with the verdict.

        All but `others` are emails that were processed without a reason.
        """
        if block.lines is None:
            return _text(self._cells, block.rows, others, verdict)
        if self._is_results:
            rows = [line.split(self._delimiter) for line in block.lines]
            return _text(self._cells, rows, others, verdict)
        return _text(self._lines, block.lines, others, verdict)


def _text(
    write: _Cells | _Lines, rows: Sequence[Any], others: Others, verdict: str | None
) -> bytes:
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
            answered.append(write.header())
        elif verdict in (None, known.verdict):
            answered.append(write.known(rows[position], known))
        here = position + 1
    answered += ok[taken:]
    return write.text(answered)


class _Cells:
    """Writes rows given as cells."""

    def __init__(self, found: Format, delimiter: str) -> None:
        self._format = found
        self._delimiter = delimiter
        # Results that were uploaded again: the old answers make room.
        self._width = found.columns - (len(RESULT_COLUMNS) if found.is_results else 0)

    def header(self) -> list[str]:
        if self._format.header is not None:
            names = list(self._format.header[: self._width])
            names += [""] * (self._width - len(names))
        else:
            names = [f"column {number}" for number in range(1, self._width + 1)]
            names[self._format.column] = "email"
        return [*names, *RESULT_COLUMNS]

    def ok(self, rows: Iterable[list[str]]) -> list[list[str]]:
        return [self.known(cells, _OK) for cells in rows]

    def known(self, cells: list[str], known: Known) -> list[str]:
        column, width = self._format.column, self._width
        address = cells[column].strip() if len(cells) > column else ""
        if self._format.is_results:
            address = undefuse(address)
        missing = [""] * (width - len(cells))
        return [*cells[:width], *missing, *_answer(known), *_forms(address, known)]

    def text(self, rows: Iterable[list[str]]) -> bytes:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter=self._delimiter, lineterminator="\n").writerows(
            [[*map(_defused, row)] for row in rows]
        )
        return buffer.getvalue().encode()


class _Lines:
    """Writes rows that are lines without quotes, which the same text stands for again.

    A normal form needs no quotes either: it has no delimiter that its address has not.
    """

    def __init__(self, found: Format, delimiter: str) -> None:
        self._delimiter = delimiter
        self._column = found.column
        self._width = found.columns
        self._names = _Cells(found, delimiter).header()
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

    def header(self) -> str:
        return self._delimiter.join(self._names) + "\n"

    def ok(self, lines: list[str]) -> list[str]:
        delimiter, width, column = self._delimiter, self._width, self._column
        # No row is wider than `width`, so that each is as wide if all together are.
        if sum([line.count(delimiter) for line in lines]) < len(lines) * (width - 1):
            lines = [line + delimiter * (width - 1 - line.count(delimiter)) for line in lines]
        addresses = [line.split(delimiter, column + 1)[column].strip() for line in lines]
        forms = syntax.normal_forms(addresses)
        middle = delimiter.join(["", *_answer(_OK), "", ""])
        return [f"{line}{middle}{form}\n" for line, form in zip(lines, forms, strict=True)]

    def known(self, line: str, known: Known) -> str:
        delimiter = self._delimiter
        cells = line.split(delimiter)
        address = cells[self._column].strip() if len(cells) > self._column else ""
        missing = delimiter * (self._width - len(cells))
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

    def text(self, lines: Iterable[str]) -> bytes:
        text = "".join(["\n", *lines])
        content = text.encode()
        if b"\n=" in content.translate(self._signs):
            content = self._formula.sub(r"'\g<0>", text).encode()
        return content[1:]


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

"""The first line of a preview: how many rows a file has, and where their addresses are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batches.accounting import Counted, Rows
from runtime import phrases
from tabular.workbooks.workbook import Sheet

# The most characters of a column's name.
MAX_NAME = 60


def of(
    shown: dict[str, Any], counted: Counted, times: float | None, sheets: Sequence[Sheet]
) -> dict[str, str | None]:
    """Return the line in three texts, to be shown with nothing between them.

    `before` and `after` are around `column`, which is the name of the address column; None if the
    file has no columns or no address.

    shown: the preview's format and columns.
    times: how many times the rows that were counted are in the file: 1.0 if they are all, None if
        unknown.
    sheets: the sheets of the workbook; none of another file.
    """
    numbers = _Numbers(times)
    if counted.problem is not None:
        where = "found" if numbers.exact else "in the first part of the file"
        return {"before": f"No address {where}", "column": None, "after": ""}
    rows, unread = counted.rows, _unread(sheets, shown["sheet"])
    if shown["kind"] == "list" or (shown["header"] is None and len(shown["columns"]) == 1):
        addresses = numbers.whole(rows.emails + rows.duplicates, "address", "addresses")
        duplicates = numbers.duplicates(rows.duplicates)
        after = f", with {duplicates}" if duplicates else ""
        return {"before": addresses, "column": None, "after": after + unread}
    before = f"{numbers.whole(rows.total, 'row', 'rows')}; addresses in "
    return {
        "before": before,
        "column": _column(shown),
        "after": _notes(rows, numbers) + unread,
    }


def warning(counted: Counted, times: float | None, max_rows: int) -> str | None:
    """Say that the file probably has more rows than are taken; None if it hasn't.

    times: as for of().
    """
    rows, numbers = counted.rows.total + counted.rows.further, _Numbers(times)
    if _rounded(rows * (times or 1.0)) <= max_rows:
        return None
    about = numbers.whole(rows, "row", "rows")
    return f"{about}; at most {max_rows:,} are taken. Split the file into smaller ones."


def _unread(sheets: Sequence[Sheet], chosen: str) -> str:
    """Say how many other sheets have addresses, because an upload reads one sheet only."""
    number = sum(bool(each.addresses) for each in sheets if each.name != chosen)
    if not number:
        return ""
    return f"; {phrases.several(number, 'more sheet has', 'more sheets have')} addresses"


def _notes(rows: Rows, numbers: _Numbers) -> str:
    """Return what is unusual about the rows, each with a comma before it."""
    notes = (
        "several in some cells" if rows.further else "",
        numbers.part(rows.without_address, "row without", "rows without"),
        numbers.duplicates(rows.duplicates),
        numbers.part(rows.blank, "blank row", "blank rows"),
    )
    return "".join(f", {note}" for note in notes if note)


def _column(shown: dict[str, Any]) -> str:
    """Return the name of the address column in its header, or `column 2` if it has none."""
    column = shown["column"]
    name = next((each["name"] for each in shown["columns"] if each["index"] == column), None)
    return phrases.shorten(name, MAX_NAME) if name else f"column {column}"


def _rounded(number: float) -> int:
    """Return the number with two significant digits."""
    return int(float(f"{number:.2g}"))


def _rounded_down(number: int) -> int:
    """Return the number with its first two digits, and zeros behind them."""
    unit = int(10 ** max(len(str(number)) - 2, 0))
    return number - number % unit


@dataclass(frozen=True)
class _Numbers:
    """Numbers of rows as words, estimated from those that were counted.

    times: as for of().
    """

    times: float | None

    @property
    def exact(self) -> bool:
        return self.times == 1.0

    def whole(self, number: int, *names: str) -> str:
        """Return the number of all rows; where it is unknown, the least that it can be."""
        if self.exact:
            return phrases.several(number, *names)
        if self.times is None:
            return f"At least {phrases.several(_rounded_down(number), *names)}"
        return f"About {phrases.several(_rounded(number * self.times), *names)}"

    def part(self, number: int, name: str, plural: str) -> str:
        """Return a number of some of the rows; empty if there are none."""
        if not number:
            return ""
        if self.times is None:
            return f"some {plural}"
        return phrases.several(
            number if self.exact else _rounded(number * self.times), name, plural
        )

    def duplicates(self, number: int) -> str:
        """Return a number of duplicates. Those in the rest of a file can't be estimated."""
        if not number:
            return ""
        return phrases.several(number, "duplicate") if self.exact else "some duplicates"

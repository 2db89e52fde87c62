"""Finds the header of a table and its column of addresses, from the first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from runtime.phrases import shorten
from tabular.formats import (
    CELL_LENGTH,
    CELLS,
    RESULT_COLUMNS,
    Format,
    IntakeError,
    Overrides,
    cut_row,
    is_results,
)
from tabular.formulas import undefused

# The most columns, as in Excel. A row with more was probably split at the wrong delimiter.
MAX_COLUMNS = 16_384
# Characters of the longest cell that is counted as an address.
MAX_ADDRESS = 320
# The most columns that an error lists.
LISTED = 20

_HEADER = re.compile(r"(\w+[ _-])?e-?mails?([ _-]?(address(es)?|adressen?|id))?|mail", re.I)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

Row = Sequence[str]


def complete(kind: Format, sample: Sequence[Row], overrides: Overrides) -> Format:
    """Return the Format `kind` with header, column and width added, as found in the first rows.

    Raises IntakeError if an override names a column that the table doesn't have.
    """
    first = next((i for i, row in enumerate(sample) if any(cell.strip() for cell in row)), 0)
    rows = sample[first:]
    width = max((len(row) for row in rows), default=1) or 1
    names = tuple(cell.strip() for cell in rows[0]) if rows else ()
    counts = count_addresses(rows[1:] if overrides.header else rows, width, names)
    if overrides.header is False:
        names = ()
    if overrides.column is None:
        column = _choose(names, counts, rows)
    else:
        column = _named(overrides.column, names, width)
    found = replace(kind, column=column, columns=width)
    if _has_header(names, rows, column, counts, overrides):
        header = [*cut_row(names), *[""] * (len(names) - CELLS)]
        if is_results(names):
            header[-len(RESULT_COLUMNS) :] = RESULT_COLUMNS
        return replace(found, header=tuple(header), header_index=first)
    return found


def width_of(numbers: Sequence[int], rows: Sequence[Row]) -> int:
    """Return the number of cells in the widest row, or raise IntakeError if it has too many.

    numbers: the line that each row begins on.
    """
    width = max(map(len, rows), default=0)
    if width > MAX_COLUMNS:
        wide = next(i for i, row in enumerate(rows) if len(row) > MAX_COLUMNS)
        raise IntakeError(
            "too_many_columns",
            f"the row has {len(rows[wide]):,} columns, and {MAX_COLUMNS:,} are the most. Perhaps"
            " something else separates the columns; name the delimiter.",
            line=numbers[wide],
        )
    return width


def count_addresses(rows: Sequence[Row], width: int, names: tuple[str, ...]) -> list[int]:
    """Return for each column how many of its cells look like addresses.

    names: the cells of the header, by which a results file is known.
    """
    counts = [0] * width
    ours = is_results(names)
    for row in rows:
        for column, cell in enumerate(row[:width]):
            if "@" in cell and _is_address(undefused(cell) if ours else cell):
                counts[column] += 1
    if ours:  # the addresses in the column `normalized` are not the uploaded ones
        uploaded = len(names) - len(RESULT_COLUMNS)
        counts[uploaded:] = [0] * (width - uploaded)
    return counts


def _is_address(cell: str) -> bool:
    cell = cell.strip()
    # The pattern takes time that grows with the square of the length.
    return len(cell) <= MAX_ADDRESS and _ADDRESS.fullmatch(cell) is not None


def _choose(names: tuple[str, ...], counts: list[int], rows: Sequence[Row]) -> int:
    known = [column for column, name in enumerate(names) if _is_known(name)]
    candidates = [column for column in known if counts[column]] or range(len(counts))
    best = max(candidates, key=lambda column: counts[column])
    if counts[best]:
        return best
    if known:
        return known[0]
    signs = (column for row in rows for column, cell in enumerate(row) if "@" in cell)
    return min(signs, default=0)


def _is_known(name: str) -> bool:
    """Tell whether a column with this header holds email addresses."""
    return len(name) <= CELL_LENGTH and _HEADER.fullmatch(name) is not None


def _named(text: str, names: tuple[str, ...], width: int) -> int:
    lowered = [name[:CELL_LENGTH].casefold() for name in names]
    if text.casefold() in lowered:
        return lowered.index(text.casefold())
    if re.fullmatch(r"[0-9]{1,6}", text) and 1 <= int(text) <= width:
        return int(text) - 1
    raise IntakeError(
        "bad_column", f"There is no column {shorten(text, 40)!r}. {_listed(names, width)}"
    )


def _listed(names: tuple[str, ...], width: int) -> str:
    if not names:
        return f"Columns are numbered from 1 to {width}."
    listed = [f"{number} ({shorten(n, 40)})" for number, n in enumerate(names[:LISTED], start=1)]
    more = f" and {width - len(listed):,} more" if width > len(listed) else ""
    return f"The columns are {', '.join(listed)}{more}."


def _has_header(
    names: tuple[str, ...],
    rows: Sequence[Row],
    column: int,
    counts: list[int],
    overrides: Overrides,
) -> bool:
    if overrides.header is not None:
        return overrides.header and any(names)
    name = names[column] if len(names) > column else ""
    if overrides.column and overrides.column.casefold() == name[:CELL_LENGTH].casefold() != "":
        return True
    if not name or "@" in name:
        return False
    if _is_known(name):
        return True
    if len(counts) > 1:
        return counts[column] > 0
    return counts[column] * 2 > sum(any(cell.strip() for cell in row) for row in rows[1:])

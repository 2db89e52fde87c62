"""Finds the column of a table that holds the addresses, and its header, from its first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from tabular.formats import (
    CELL_LENGTH,
    CELLS,
    RESULT_COLUMNS,
    Format,
    IntakeError,
    Overrides,
    cut_row,
    is_results,
    shorten,
)
from tabular.formulas import undefused

# Excel allows no more; a row with more was probably split at the wrong delimiter.
MAX_COLUMNS = 16_384
# A longer cell is never counted as an address.
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
    counts = _count(rows[1:] if overrides.header else rows, width, names)
    column = (
        _choose(names, counts, rows, overrides)
        if overrides.column is None
        else _named(overrides.column, names, width, overrides)
    )
    found = replace(kind, column=column, columns=width)
    if _has_header(names, rows, column, counts, width, overrides):
        header = [*cut_row(names), *[""] * (len(names) - CELLS)]
        if is_results(names):
            header[-len(RESULT_COLUMNS) :] = RESULT_COLUMNS
        return replace(found, header=tuple(header), header_index=first)
    return found


def width_of(numbers: Sequence[int], rows: Sequence[Row]) -> int:
    """Return the number of cells in the widest row.

    Raises IntakeError if that is more than MAX_COLUMNS. `numbers` are the lines that the rows begin
    on.
    """
    width = max(map(len, rows), default=0)
    if width > MAX_COLUMNS:
        line, cells = next(
            (line, len(row))
            for line, row in zip(numbers, rows, strict=True)
            if len(row) > MAX_COLUMNS
        )
        raise IntakeError(
            "too_many_columns",
            f"the row has {cells:,} columns, and {MAX_COLUMNS:,} are the most. Perhaps columns are"
            " separated by something else; name the delimiter.",
            line=line,
        )
    return width


def address_counts(sample: Sequence[Row], found: Format) -> list[int]:
    """Return for each column how many of its cells look like addresses."""
    return _count(sample, found.columns, found.header or ())


def _count(rows: Sequence[Row], width: int, names: tuple[str, ...]) -> list[int]:
    counts = [0] * width
    ours = is_results(names)
    for row in rows:
        for column, cell in enumerate(row[:width]):
            if "@" in cell and _is_address(undefused(cell) if ours else cell):
                counts[column] += 1
    if ours:  # our column `normalized` has addresses, but not the uploaded ones
        uploaded = len(names) - len(RESULT_COLUMNS)
        counts[uploaded:] = [0] * (width - uploaded)
    return counts


def _is_address(cell: str) -> bool:
    cell = cell.strip()
    # The time that the pattern takes grows with the square of the length.
    return len(cell) <= MAX_ADDRESS and _ADDRESS.fullmatch(cell) is not None


def _choose(
    names: tuple[str, ...], counts: list[int], rows: Sequence[Row], overrides: Overrides
) -> int:
    known = _known(names) if overrides.header is not False else []
    candidates = [column for column in known if counts[column]] or range(len(counts))
    best = max(candidates, key=lambda column: (counts[column], -column))
    if counts[best]:
        return best
    if known:
        return known[0]
    signs = (column for row in rows for column, cell in enumerate(row) if "@" in cell)
    return min(signs, default=0)


def _known(names: tuple[str, ...]) -> list[int]:
    """The columns whose header says that they hold email addresses."""
    return [column for column, name in enumerate(names) if _is_known(name)]


def _is_known(name: str) -> bool:
    return len(name) <= CELL_LENGTH and _HEADER.fullmatch(name) is not None


def _named(text: str, names: tuple[str, ...], width: int, overrides: Overrides) -> int:
    lowered = [name[:CELL_LENGTH].casefold() for name in names]
    if overrides.header is not False and text.casefold() in lowered:
        return lowered.index(text.casefold())
    if re.fullmatch(r"[0-9]{1,6}", text) and 1 <= int(text) <= width:
        return int(text) - 1
    raise IntakeError(
        "bad_column",
        f"There is no column {shorten(text, 40)!r}. {_listed(names, width, overrides)}",
    )


def _listed(names: tuple[str, ...], width: int, overrides: Overrides) -> str:
    if overrides.header is False or not names:
        return f"Columns are numbered from 1 to {width}."
    listed = [f"{number} ({shorten(n, 40)})" for number, n in enumerate(names[:LISTED], start=1)]
    more = f" and {width - len(listed):,} more" if width > len(listed) else ""
    return f"The columns are {', '.join(listed)}{more}."


def _has_header(
    names: tuple[str, ...],
    rows: Sequence[Row],
    column: int,
    counts: list[int],
    width: int,
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
    if width > 1:
        return counts[column] > 0
    return counts[column] * 2 > sum(any(cell.strip() for cell in row) for row in rows[1:])

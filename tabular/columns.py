"""Finds the header of a table and its column of addresses, from the first rows; names columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from runtime.phrases import shorten
from tabular.formats import (
    CELL_LENGTH,
    CELLS,
    Format,
    IntakeError,
    Overrides,
    cut_row,
    result_columns,
)
from tabular.formulas import undefused
from tabular.headers import Rank, has_address, header_index, rank

# The most columns, as in Excel. A row with more was probably split at the wrong delimiter.
MAX_COLUMNS = 16_384
# The most columns that an error lists.
LISTED = 20

Row = Sequence[str]


def complete(
    found: Format, numbers: Sequence[int], sample: Sequence[Row], overrides: Overrides
) -> Format:
    """Return the format with the header, the column and the width that the first rows show.

    numbers: the line that each row begins on.

    Raises IntakeError if an override names a column or a header that the table doesn't have.
    """
    width = max(map(len, sample), default=1) or 1
    index, by_name = header_index(sample, overrides.column)
    if isinstance(overrides.header, int) and not isinstance(overrides.header, bool):
        index = _row_on(overrides.header, numbers, sample)
    names = tuple(cell.strip() for cell in sample[index])
    rows = sample[index + 1 :] if overrides.header or by_name else sample[index:]
    if overrides.header is False:
        index, names, rows = 0, (), sample
    counts = count_addresses(rows, width, names)
    if overrides.column is None:
        column = _choose(names, counts, rows)
    else:
        column = _named(overrides.column, names, width)
    cells: Literal["split", "clean"] = "split" if overrides.split else "clean"
    has_header = bool(names) and (by_name or _is_header(names, rows, column, counts, overrides))
    return replace(
        found,
        header=_stored(names) if has_header else None,
        header_index=index,
        column=column,
        columns=width,
        cells=cells,
    )


def _row_on(line: int, numbers: Sequence[int], rows: Sequence[Row]) -> int:
    """Return the position of the row that begins on this line, which must not be blank."""
    if line in numbers:
        position = numbers.index(line)
        if any(map(str.strip, rows[position])):
            return position
        raise IntakeError("bad_header", f"Line {line:,} is blank, so it is no header.")
    raise IntakeError(
        "bad_header", f"header is yes, no, or the line of a row up to line {numbers[-1]:,}."
    )


def _stored(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the header as Format has it."""
    header = [*cut_row(names), *[""] * (len(names) - CELLS)]
    for column in result_columns(names):
        header[column] = names[column]
    return tuple(header)


def cell_names(found: Format) -> tuple[str, ...]:
    """Return the name of each column, by which its cells are asked for and given to processors.

    The name is the header as Format has it: stripped, and cut if it is long; a column beyond those
    that Format keeps has none. A header that comes again gets a number, as in "Name (2)", and so
    does the header `*`, which would mean all columns; a column without a header is "Column 5". All
    names are distinct, and only these made ones ever give way to a header. A list and a vCard have
    no columns.
    """
    if found.kind in ("list", "vcard"):
        return ()
    header = [name.strip() for name in found.header or ()]
    header += [""] * (found.columns - len(header))
    names: dict[str, None] = {}
    taken = {*header, "*"}
    for number, name in enumerate(header, start=1):
        own = name
        if name in ("", "*") or name in names:
            own = untaken(name or f"Column {number}", taken)
            taken.add(own)
        names[own] = None
    return tuple(names)


def untaken(name: str, taken: set[str], key: Callable[[str], str] = str) -> str:
    """Return the name, with the first number behind it that makes it a new one if it is taken.

    taken: the names, or their keys, that are taken.
    """
    new, number = name, 1
    while key(new) in taken:
        number += 1
        new = f"{name} ({number})"
    return new


def address_cells(rows: Sequence[Row], found: Format) -> list[str]:
    """Return each row's cell in the address column, stripped; empty if the row is too short."""
    column = found.column
    try:
        cells = [row[column] for row in rows]
    except IndexError:
        cells = [row[column] if len(row) > column else "" for row in rows]
    if found.is_results:  # before the strip, because a space may precede an apostrophe
        cells = [*map(undefused, cells)]
    return [*map(str.strip, cells)]


def count_others(rows: Sequence[Row], found: Format) -> int:
    """Return the number of rows with an address in a column other than the address column."""
    skipped = {found.column, *found.result_columns}
    return sum(
        any("@" in cell and n not in skipped and has_address(cell) for n, cell in enumerate(row))
        for row in rows
    )


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
    """Return for each column how many of its cells have an address.

    names: the cells of the header, by which a results file is known.
    """
    counts = [0] * width
    ours = result_columns(names)
    for row in rows:
        for column, cell in enumerate(row[:width]):
            if "@" in cell and has_address(undefused(cell) if ours else cell):
                counts[column] += 1
    for column in ours:  # the addresses in the column `normalized` are not the uploaded ones
        counts[column] = 0
    return counts


def why(found: Format, counts: Sequence[int], overrides: Overrides) -> str | None:
    """Return why the format has this address column, in words; None if it has only one column.

    counts: how many cells of each column have an address.
    """
    if found.columns == 1:
        return None
    if overrides.column is not None:
        return "as you chose"
    names = found.header or ()
    if len(names) > found.column and rank(names[found.column]):
        return "because of its header"
    return "because it has the most addresses" if counts[found.column] else "by its position"


def _choose(names: tuple[str, ...], counts: list[int], rows: Sequence[Row]) -> int:
    ranks = [*map(rank, names), *[Rank.NOTHING] * (len(counts) - len(names))]
    # A name such as "Private mail" says little if another column has many more addresses.
    enough = {Rank.NOTHING: 0, Rank.PART: max(counts) / 2, Rank.EXACT: 1}
    best = max(
        range(len(counts)),
        key=lambda n: (ranks[n] * (counts[n] >= enough[ranks[n]]), counts[n]),
    )
    if counts[best]:
        return best
    if any(ranks):
        return ranks.index(max(ranks))
    # No cell has an address. One that begins with @ is rather the name of an account.
    with_sign = (n for row in rows for n, cell in enumerate(row) if "@" in cell.strip()[1:])
    return min(with_sign, default=0)


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


def _is_header(
    names: tuple[str, ...],
    rows: Sequence[Row],
    column: int,
    counts: list[int],
    overrides: Overrides,
) -> bool:
    """Tell whether `names` are a header, though none of them is a word for email."""
    if overrides.header is not None:
        return any(names)
    name = names[column] if len(names) > column else ""
    if not name or "@" in name:
        return False
    if len(counts) > 1:
        return counts[column] > 0
    return counts[column] * 2 > sum(any(cell.strip() for cell in row) for row in rows[1:])

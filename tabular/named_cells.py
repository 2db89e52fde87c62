"""A stand-in for the names of a table's columns, until the real one comes."""

from __future__ import annotations

from itertools import zip_longest

from tabular.formats import Format


def cell_names(found: Format) -> tuple[str, ...]:
    """Return a distinct name for each column."""
    names: dict[str, None] = {}
    header = found.header or ()
    for number, (_, text) in enumerate(zip_longest(range(found.columns), header), start=1):
        name = plain = (text or "").strip() or f"Column {number}"
        count = 1
        while name in names:
            count += 1
            name = f"{plain} ({count})"
        names[name] = None
    return tuple(names)

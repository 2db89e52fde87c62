"""Chooses the columns whose cells a batch keeps, and takes their cells out of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from batches.cells import CELL_END, ESCAPED, ROW_END, pack
from runtime.phrases import as_csv, shorten
from runtime.texts import Texts
from tabular.columns import LISTED, cell_names
from tabular.formats import Format, IntakeError
from tabular.formulas import undefused
from tabular.plain import PlainRows


@dataclass(frozen=True)
class KeptColumns:
    """The columns of a table whose cells are kept.

    numbers: their positions from 0, in the file's order; None for all columns.
    is_results: whether the table is a results file, whose cells may have been defused.
    """

    numbers: tuple[int, ...] | None
    is_results: bool

    def names(self, found: Format) -> list[str]:
        """Return their names, with the width that the format has after all rows were read."""
        names = cell_names(found)
        return [*names] if self.numbers is None else [names[number] for number in self.numbers]

    def lines(self, rows: Sequence[list[str]]) -> list[str]:
        """Return the cells of each row in one line, as pack() does."""
        picked: Sequence[Sequence[str]] = rows
        if self.numbers is None:
            ends = sum(map(len, rows)) - sum(map(bool, rows))
        else:
            picked = _picked(rows, self.numbers)
            ends = len(rows) * (len(self.numbers) - 1)
        if self.is_results:
            picked = [[*map(undefused, row)] for row in picked]
        return pack(picked, ends)

    def plain_lines(self, rows: PlainRows) -> Texts | None:
        """Return what lines() returns, in a fifth of the time; a short row lacks its last cells.

        Returns None if the columns aren't neighbours or a cell needs escapes.
        """
        first, last = (self.numbers[0], self.numbers[-1]) if self.numbers else (0, None)
        if last is not None and self.numbers != (*range(first, last + 1),):
            return None
        spans = rows.span(first, last)
        together = spans.content
        if any(each.encode() in together for each in ESCAPED if each != ROW_END):
            return None
        if rows.delimiter == CELL_END:
            return spans
        if CELL_END.encode() in together:
            return None
        lines = together.replace(rows.delimiter.encode(), CELL_END.encode())
        return Texts(lines, spans.ends, are_lines=True)


def kept_columns(
    found: Format, wanted: Sequence[str], taken: Sequence[str] = ()
) -> KeptColumns | None:
    """Return the columns with these names, or all for `*`; None if no cells are to be kept.

    wanted: may differ from the table's names in white space, because browsers change the line ends
        of what they send. Raises IntakeError for one that the table lacks, unless all are kept.
    taken: more of them; those that the table lacks are left out.
    """
    names = cell_names(found)
    known = {*names, "*"}
    wanted = [*wanted, *(name for name in taken if name in known)]
    if not wanted or ("*" in wanted and not names):
        return None
    if "*" in wanted:
        return KeptColumns(None, found.is_results)
    places = {_spaced(name): number for number, name in reversed([*enumerate(names)])}
    places |= {name: number for number, name in enumerate(names)}
    numbers = set()
    for name in wanted:
        number = places.get(name, places.get(_spaced(name)))
        if number is None:
            raise _no_such_column(name, names)
        numbers.add(number)
    return KeptColumns(tuple(sorted(numbers)), found.is_results)


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _no_such_column(name: str, names: Sequence[str]) -> IntakeError:
    # As they are written in the field `columns`, so that a header with a comma isn't read as two.
    listed = as_csv([shorten(_spaced(each), 40) for each in names[:LISTED]])
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    what = f"It has: {listed}{more}." if names else "It is a list, without columns."
    return IntakeError(
        "no_such_column", f"The file has no column {shorten(_spaced(name), 40)!r}. {what}"
    )


def _picked(rows: Sequence[list[str]], numbers: tuple[int, ...]) -> Sequence[Sequence[str]]:
    """Return these cells of each row; a cell that a row lacks is empty."""
    try:
        if len(numbers) == 1:
            return [[row[numbers[0]]] for row in rows]
        return [*map(itemgetter(*numbers), rows)]
    except IndexError:
        return [[row[n] if n < len(row) else "" for n in numbers] for row in rows]

"""Shows how an upload of a file would be read, and what would become of its rows."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any, BinaryIO

from batches import accounting
from batches.accounting import Counted, Rows
from batches.as_json import counts_json, format_json
from runtime import phrases
from tabular import columns, encodings, reader
from tabular.formats import CELLS, Format, IntakeError, Overrides, cut_row
from tabular.workbooks import workbook
from web import headline

# The first part of a file that is looked at: bytes of a text, and rows of any file.
PART_BYTES = 1 << 20
PART_ROWS = 50_000
# The most rows that are shown, and the most of those above the header.
ROWS, ABOVE = 10, 10


def show(
    file: BinaryIO, overrides: Overrides, max_rows: int, *, size: int | None = None
) -> dict[str, Any]:
    """Return how the file, or its first part, would be read, as JSON. Raises IntakeError.

    size: the length of the file that would be uploaded, if `file` is only its first part.
    """
    cut = size is not None
    length = size or _length(file)
    candidates, part = [], b""
    if not workbook.is_workbook(file):
        part, cut = _first_part(file, cut)
        file = io.BytesIO(part)
        candidates = encodings.candidates(file)
    try:
        table = reader.read(file, overrides, cut=cut)
    except IntakeError as error:
        if cut and error.code == "broken_workbook":
            raise IntakeError(
                "partial_workbook",
                "A workbook can't be read in part. Send the whole file for its preview.",
            ) from None
        raise
    counted = accounting.count(table, PART_ROWS, max_rows)
    times = _times_in_text(counted, part, length) if part else _times_in_sheet(counted, table)
    partial = cut or not counted.whole
    shown = _table_json(table, overrides)
    return shown | {
        "sheets": [sheet._asdict() for sheet in table.sheets],
        "encodings": [asdict(each) for each in candidates],
        "partial": partial,
        "counts": counts_json(counted.rows),
        "headline": headline.of(shown, counted, times, table.sheets),
        "summary": _summary(counted.rows, partial),
        "others": _others(shown, counted.rows),
        "problem": None if partial else counted.problem,
        "warning": headline.warning(counted, times, max_rows),
    }


def _length(file: BinaryIO) -> int:
    """Return the length of the file, which is left at its beginning."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    return length


def _times_in_text(counted: Counted, part: bytes, length: int) -> float:
    """Return how many times the rows that were counted are in the text: 1.0 if they are all.

    part: the beginning of the text, in which the rows were counted.
    length: the number of bytes in the text.
    """
    in_part = 1.0
    if not counted.whole:
        in_part = max(part.count(b"\n"), part.count(b"\r")) / counted.rows.total
    return in_part * length / len(part)


def _times_in_sheet(counted: Counted, table: reader.Table) -> float | None:
    """Return how many times the rows that were counted are in the sheet; None if unknown."""
    if counted.whole:
        return 1.0
    rows = next((each.rows for each in table.sheets if each.name == table.format.sheet), None)
    return rows / counted.rows.total if rows else None


def _summary(rows: Rows, partial: bool) -> str:
    """Return what becomes of the rows, in words."""
    parts = [
        (rows.emails, "email", ""),
        (rows.duplicates, "duplicate", ""),
        (rows.without_address, "row without an address", "rows without an address"),
        (rows.blank, "blank row", ""),
    ]
    named = ", ".join(phrases.several(*part) for part in parts if part[0])
    further = phrases.several(rows.further, "further address", "further addresses")
    whole = phrases.several(rows.total, "row") + (f" and {further}" if rows.further else "")
    where = " in the first part of the file" if partial else ""
    rest = " The rest is counted when it is uploaded." if partial else ""
    return f"{whole}{where}: {named or 'nothing'}.{rest}"


def _first_part(file: BinaryIO, cut: bool) -> tuple[bytes, bool]:
    """Return the first PART_BYTES, and whether there is more; if so, without half a character."""
    part = file.read(PART_BYTES)
    if not cut and not file.read(1):
        return part, False
    encoding = encodings.of_marks(part[: encodings.WIDE_SAMPLE]) or "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)("ignore")
    decoder.decode(part)
    part = part[: len(part) - len(decoder.getstate()[0])]
    # In other encodings nothing shows half a character, but before a line break there is none.
    if not encoding.startswith("utf-16"):
        part = part[: part.rfind(b"\n") + 1] or part
    return part, True


def _table_json(table: reader.Table, overrides: Overrides) -> dict[str, Any]:
    """Return the table's format and its first rows."""
    found, index = table.format, table.format.header_index
    above, below = table.sample[:index], table.sample[index:]
    header_line = None
    if found.header is not None:
        header_line = below[0][0]
        below = below[1:]
    names = found.header or ()
    cell_columns = columns.cell_names(found)
    counts = columns.count_addresses([cells for _, cells in table.sample], found.columns, names)
    return format_json(found) | {
        "why": columns.why(found, counts, overrides),
        "columns": _columns_json(found, counts, cell_columns),
        "headerLine": header_line,
        "above": [{"line": line, "cells": cut_row(cells)} for line, cells in above[-ABOVE:]],
        "rows": [cut_row(cells) for _, cells in below[:ROWS]],
        "lines": [line for line, _ in below[:ROWS]],
    }


def _others(table_json: dict[str, Any], rows: Rows) -> dict[str, Any] | None:
    """Return how many rows have addresses in other columns, in words, and the column with most.

    None if there are no such rows, or the columns that are shown have none of these addresses.
    """
    others = [each for each in table_json["columns"] if each["index"] != table_json["column"]]
    best = max(others, key=lambda each: each["addresses"], default=None)
    if not rows.others or best is None or not best["addresses"]:
        return None
    return {"text": phrases.further_addresses(rows.others), "column": best["index"]}


def _columns_json(found: Format, counts: list[int], full: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns; `cells` is how `columns` of an upload names one, None if that is long."""
    whole = [cut if cut == name else None for cut, name in zip(cut_row(full), full, strict=False)]
    return [
        {"index": index, "name": name, "addresses": count, "cells": cells}
        for index, (count, name, cells) in enumerate(
            zip_longest(counts[:CELLS], cut_row(found.header or ()), whole), start=1
        )
    ]

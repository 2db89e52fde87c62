"""Uploaded files, and the rows of files that were read."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import xlsxwriter

from tabular.formats import Format
from tabular.text import Block


def csv_of(*addresses: str) -> bytes:
    return "".join(f"{address}\n" for address in addresses).encode()


def workbook(rows: list[list[Any]]) -> bytes:
    """An XLSX file with these rows."""
    buffer = BytesIO()
    with xlsxwriter.Workbook(buffer) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    return buffer.getvalue()


def rows_of(blocks: Iterable[Block], found: Format) -> list[tuple[int, list[str]]]:
    """The rows of blocks, one by one, each with its line."""
    delimiter = found.delimiter or ","
    return [row for b in blocks for row in zip(b.numbers, b.cells(delimiter), strict=True)]

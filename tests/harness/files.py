"""Make files to upload and forms with them; list the rows of files that were read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

import xlsxwriter

from tabular.block import Block
from tabular.formats import Format


def csv_of(*addresses: str) -> bytes:
    return "".join(f"{address}\n" for address in addresses).encode()


BOUNDARY = "a-boundary-of-the-tests"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def form(
    content: bytes,
    filename: str,
    field: str = "file",
    behind: Mapping[str, str] | None = None,
    **texts: str,
) -> bytes:
    """Return a form, of type FORM_TYPE, with a file in `field`.

    `texts` are the fields before the file, `behind` those behind it.
    """
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="

    def fields(of: Mapping[str, str]) -> bytes:
        return "".join(f'{start}"{name}"\r\n\r\n{of[name]}\r\n' for name in of).encode()

    head = f'{start}"{field}"; filename="{filename}"\r\nContent-Type: text/csv\r\n\r\n'
    file = head.encode() + content + b"\r\n"
    return fields(texts) + file + fields(behind or {}) + f"--{BOUNDARY}--\r\n".encode()


def workbook(sheets: list[list[Any]] | dict[str | None, list[list[Any]]]) -> bytes:
    """Return an XLSX file with these rows, or with these sheets."""
    buffer = BytesIO()
    with xlsxwriter.Workbook(buffer) as book:
        for name, rows in (sheets if isinstance(sheets, dict) else {None: sheets}).items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return buffer.getvalue()


def rows_of(blocks: Iterable[Block], found: Format) -> list[tuple[int, list[str]]]:
    """Return all rows of the blocks, each with its line."""
    delimiter = found.separator
    return [row for b in blocks for row in zip(b.numbers, b.cells(delimiter), strict=True)]


def characters_of(block: Block) -> int:
    """Return the number of characters in all rows of the block."""
    if block.lines is not None:
        return sum(map(len, block.lines))
    return sum(sum(map(len, row)) + len(row) for row in block.rows or ())

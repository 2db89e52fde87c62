"""Reads workbooks of old Excel (XLS) by xlrd, which knows the formats of their cells.

Workbook and Sheet have the methods of python-calamine's that child.py uses.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, BinaryIO

import xlrd
from python_calamine import SheetTypeEnum, SheetVisibleEnum

from tabular.workbooks import number_formats

# The number of the first format that isn't built in.
_FIRST_OWN_FORMAT = 164


class Workbook:
    """A workbook. Opening a broken one raises xlrd.XLRDError, or nearly any other error."""

    def __init__(self, file: BinaryIO) -> None:
        self._book = xlrd.open_workbook(
            file_contents=file.read(),
            formatting_info=True,
            ragged_rows=True,
            logfile=io.StringIO(),
        )
        shows = {
            key: number_formats.of_code(each.format_str, since_1904=self._book.datemode == 1)
            for key, each in self._book.format_map.items()
            if key >= _FIRST_OWN_FORMAT
        }
        self._shows = [shows.get(each.format_key) for each in self._book.xf_list]

    @property
    def sheets_metadata(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                name=sheet.name,
                typ=SheetTypeEnum.WorkSheet,
                visible=SheetVisibleEnum.Hidden if sheet.visibility else SheetVisibleEnum.Visible,
            )
            for sheet in self._book.sheets()
        ]

    def get_sheet_by_name(self, name: str) -> Sheet:
        return Sheet(self, self._book.sheet_by_name(name))

    def value(self, kind: int, value: Any, style: int | None) -> Any:
        """Return a cell's value as python-calamine does, or the text that the cell shows."""
        if kind in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
            show = self._shows[style or 0]
            if show and (text := show(value)) is not None:
                return text
        if kind == xlrd.XL_CELL_DATE:
            return self._moment(value)
        if kind == xlrd.XL_CELL_BOOLEAN:
            return bool(value)
        return "" if kind == xlrd.XL_CELL_ERROR else value

    def _moment(self, value: float) -> Any:
        try:
            moment = xlrd.xldate_as_datetime(value, self._book.datemode)
        except (xlrd.XLDateError, ValueError, OverflowError):
            return value
        return moment.time() if value < 1 else moment


class Sheet:
    """A sheet of a workbook."""

    def __init__(self, workbook: Workbook, sheet: xlrd.sheet.Sheet) -> None:
        self._workbook = workbook
        self._sheet = sheet
        self.start = (0, 0) if sheet.nrows else None
        self.end = (sheet.nrows - 1, sheet.ncols - 1) if sheet.nrows else None

    def iter_rows(self) -> Iterator[list[Any]]:
        width = self._sheet.ncols
        for row in range(self._sheet.nrows):
            cells = self._sheet.row(row)
            values = [self._workbook.value(each.ctype, each.value, each.xf_index) for each in cells]
            yield values + [""] * (width - len(values))

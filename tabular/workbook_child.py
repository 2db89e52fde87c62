"""The child process of workbook.py: reads a workbook on standard input, writes its rows as CSV.

Exit statuses:
0: all rows are written.
REFUSED: the workbook can't be read. The last line on standard error says why, as JSON: a code, a
    sentence, and the number of the bad row or null.
DISK_FULL: the disk has no room for the rows.
Any other: the child died.
"""

from __future__ import annotations

import csv
import ctypes
import datetime
import errno
import io
import json
import os
import resource
import signal
import sys
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

REFUSED, DISK_FULL = 3, 4
# The most that this process may use: bytes of memory, seconds of processor time.
MEMORY = 1_500_000_000
SECONDS = 120
# Bytes of memory that any workbook may take, and further ones for each byte that it inflates to.
# Without this limit a small file would fill the memory: a text in very many cells is in the file
# once, but in memory once a cell. Usual sheets of 3 to 10 columns take 14 MB, and 1.5 to 2.3 bytes
# for each inflated byte.
LEAST_MEMORY, MEMORY_PER_BYTE = 300_000_000, 4
# The most characters of a row, and of a cell, the same as in a text file.
MAX_ROW = 2 << 18
MAX_CELL = csv.field_size_limit()
# The most parts of a workbook (the files in its archive), and the most bytes that they inflate to
# together. A sheet of a million rows has some 100 MB.
MAX_PARTS = 5000
MAX_INFLATED = 1_000_000_000
_BLOCK = 1 << 20
_PR_SET_PDEATHSIG = 1

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_XLSX = b"spreadsheetml.sheet.main+xml"
_SAVE = "Open it in the program that made it, and save the sheet as XLSX or CSV."


class _RefusalError(Exception):
    """The workbook can't be read; `row` is the number of the bad row, if one is to blame."""

    def __init__(self, code: str, message: str, row: int | None = None) -> None:
        super().__init__(code, message, row)


def main() -> None:
    """Set the limits, check the workbook, and write its rows."""
    if sys.platform == "linux":
        # End with the parent, even if the parent is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_INFLATED, MAX_INFLATED))
    file = sys.stdin.buffer
    try:
        memory = min(MEMORY, LEAST_MEMORY + MEMORY_PER_BYTE * check(file))
        resource.setrlimit(resource.RLIMIT_AS, (memory, MEMORY))
        _write(file)
    except _RefusalError as refusal:
        print(f"\n{json.dumps(refusal.args)}", file=sys.stderr, flush=True)
        os._exit(REFUSED)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os._exit(DISK_FULL)


def check(file: BinaryIO) -> int:
    """Return how many bytes the workbook inflates to.

    Raises _RefusalError if the file is no workbook, or exceeds the limits.
    """
    start = file.read(8)
    file.seek(0)
    if start == OLE:
        raise _old_or_encrypted(file)
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(names) > MAX_PARTS:
                raise _bomb(f"has {len(names):,} parts")
            _check_kind(archive, names)
            inflated = _inflate(archive)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError):
        raise _broken() from None
    file.seek(0)
    return inflated


def _check_kind(archive: zipfile.ZipFile, names: list[str]) -> None:
    types = b""
    if "[Content_Types].xml" in names:
        try:
            with archive.open("[Content_Types].xml") as part:
                types = part.read(_BLOCK)
        except RuntimeError:  # the part is encrypted
            raise _encrypted() from None
    if _XLSX in types:
        return
    if b"ms-excel.sheet.macroEnabled" in types or b"ms-excel.template.macroEnabled" in types:
        kind = "a workbook with macros"
    elif b"ms-excel.sheet.binary" in types:
        kind = "a binary workbook (XLSB)"
    elif "mimetype" in names:
        kind = "an OpenDocument file"
    elif b"wordprocessingml" in types:
        kind = "a text document"
    else:
        kind = "an archive that is no workbook"
    raise _RefusalError("not_xlsx", f"The file is {kind}; CSV and XLSX can be read. {_SAVE}")


def _inflate(archive: zipfile.ZipFile) -> int:
    """Inflate all parts and return the sum of their bytes; the declared sizes may be false."""
    total = 0
    for part in archive.infolist():
        if part.flag_bits & 0x1:
            raise _encrypted()
        if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _broken()
        expected = total + part.file_size
        part.file_size = sys.maxsize  # or else zipfile would not read beyond the declared size
        del part.CRC  # saves time: calamine checks the parts that it reads
        with archive.open(part) as content:
            while block := content.read(_BLOCK):
                total += len(block)
                if total > MAX_INFLATED:
                    raise _bomb(f"inflates to more than {MAX_INFLATED // 1_000_000:,} MB")
        if total != expected:
            raise _broken()
    return total


def _old_or_encrypted(file: BinaryIO) -> _RefusalError:
    previous = b""
    while block := file.read(_BLOCK):
        if "EncryptedPackage".encode("utf-16-le") in previous + block:
            return _encrypted()
        previous = block[-64:]
    return _RefusalError("not_xlsx", f"The file is an old workbook (XLS) or the like. {_SAVE}")


def _encrypted() -> _RefusalError:
    return _RefusalError("encrypted_workbook", "The workbook has a password. Save it without.")


def _broken() -> _RefusalError:
    return _RefusalError(
        "broken_workbook", f"The workbook is broken or not all of it is there. {_SAVE}"
    )


def _bomb(what: str) -> _RefusalError:
    return _RefusalError(
        "zip_bomb",
        f"The workbook {what}, which is too much. Save its sheet as CSV in UTF-8 and upload that.",
    )


def _write(file: BinaryIO) -> None:
    """Write the rows of the first visible sheet, or of the first sheet if none is visible."""
    from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    try:
        workbook = CalamineWorkbook.from_filelike(file)
        sheets = [s for s in workbook.sheets_metadata if s.typ == SheetTypeEnum.WorkSheet]
        visible = [s for s in sheets if s.visible == SheetVisibleEnum.Visible]
        if not sheets:
            raise _RefusalError("no_sheet", "The workbook has no sheet with rows.")
        sheet = workbook.get_sheet_by_name((visible or sheets)[0].name)
    except (CalamineError, ValueError, OSError):
        raise _broken() from None
    if sheet.start is None:
        return
    _, column = sheet.start
    output = io.TextIOWrapper(sys.stdout.buffer, "utf-8", newline="")
    writer = csv.writer(output)  # quotes cells with CR or LF, because both are in its line end
    left = [""] * column  # iter_rows() begins with the first row, but not with the first column
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        # PostgreSQL's text can't contain a NUL, as a workbook's cell can.
        row = [cell.replace("\0", "") if type(cell) is str else _text(cell) for cell in cells]
        length = sum(map(len, row)) + column + len(row)
        if length > MAX_CELL and (refusal := _too_long(length, row, number)):
            output.flush()  # the parent may find an error in an earlier row, and report that
            raise refusal
        writer.writerow(left + row if any(row) else [])
    output.flush()


def _too_long(length: int, row: list[str], number: int) -> _RefusalError | None:
    """Return the refusal of a row of `length` characters, None if it and its cells fit."""
    if length > MAX_ROW:
        what = f"this row is longer than {MAX_ROW:,} characters"
        return _RefusalError("row_too_long", f"{what}. Put one address on each row.", number)
    if max(map(len, row)) > MAX_CELL:
        what = f"this row has a cell of more than {MAX_CELL:,} characters"
        return _RefusalError("cell_too_long", f"{what}. Shorten it or delete it.", number)
    return None


def _text(cell: Any) -> str:
    """Return the text of a cell, about as a spreadsheet shows it."""
    return _TEXTS.get(type(cell), str)(cell)


def _number(cell: float) -> str:
    return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)


def _moment(cell: datetime.datetime) -> str:
    return str(cell.date() if cell.time() == datetime.time() else cell)


_TEXTS: dict[type, Callable[[Any], str]] = {
    float: _number,
    bool: lambda cell: "TRUE" if cell else "FALSE",
    datetime.datetime: _moment,
}

if __name__ == "__main__":
    main()

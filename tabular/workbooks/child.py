"""The child process of workbook.py: reads a workbook on standard input, writes a sheet as CSV.

The argument says which sheet: `best` (the visible one with most addresses), `=` and its name or
number as JSON, or `first`: the first visible one, with its cells and empty rows as they are in the
file, as batches were read before there was a choice. Before the rows comes a line of JSON: the
workbook's kind, the sheet's name, and each sheet as a list of its name, whether it is hidden, and
its numbers of rows and of cells with an address, null if they weren't counted.

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
import errno
import io
import json
import os
import re
import resource
import signal
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tabular.workbooks import number_formats, shown
from tabular.workbooks.gaps import MAX_ROWS, Gaps, numbered

REFUSED, DISK_FULL = 3, 4
# The most that this process may use: bytes of memory, seconds of processor time.
MEMORY = 1_500_000_000
SECONDS = 120
# Bytes of memory that any workbook may take, and further ones for each byte that it inflates to.
# Without this limit a small file would fill the memory: a text in very many cells is in the file
# once, but in memory once a cell. Usual sheets of 3 to 10 columns take 14 MB, and 1.5 to 2.3 bytes
# for each inflated byte.
LEAST_MEMORY, MEMORY_PER_BYTE = 300_000_000, 4
# Binary workbooks (XLSB, XLS) take fewer bytes for a cell. Each byte may take so many times more.
BINARY_TIMES = 4
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
# The kind of a workbook by what its part [Content_Types].xml has in it.
_KINDS = {
    b"spreadsheetml.sheet.main+xml": "xlsx",
    b"spreadsheetml.template.main+xml": "xlsx",
    b"ms-excel.sheet.macroEnabled.main+xml": "xlsm",
    b"ms-excel.template.macroEnabled.main+xml": "xlsm",
    b"ms-excel.sheet.binary.macroEnabled.main": "xlsb",
}
_ODS = b"application/vnd.oasis.opendocument.spreadsheet"
_ADDRESS = re.compile(r"[^@\s]@[^@\s]+\.[^@\s]")
# The most sheets whose cells are counted, and the most that an error lists.
MAX_SHEETS, LISTED = 50, 10
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError)
_SAVE = "Open it in the program that made it, and save the sheet as XLSX or CSV."
# A sheet's name, whether it is hidden, and its numbers of rows and of cells with an address.
_Sheet = tuple[str, bool, int | None, int | None]


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
        _read(file, sys.argv[1])
    except _RefusalError as refusal:
        _refuse(refusal)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os._exit(DISK_FULL)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # an assertion of python-calamine's
            _refuse(_broken())
        raise


def _refuse(refusal: _RefusalError) -> None:
    print(f"\n{json.dumps(refusal.args)}", file=sys.stderr, flush=True)
    os._exit(REFUSED)


def _read(file: BinaryIO, choice: str) -> None:
    kind, inflated, sparse = check(file)
    gaps: dict[str, Gaps] = {}
    if choice != "first":
        file, gaps = _as_shown(file, kind, sparse)
    per_byte = MEMORY_PER_BYTE * (BINARY_TIMES if kind in ("xls", "xlsb") else 1)
    memory = min(MEMORY, LEAST_MEMORY + per_byte * inflated)
    resource.setrlimit(resource.RLIMIT_AS, (memory, MEMORY))
    _write(file, kind, choice, gaps)


def check(file: BinaryIO) -> tuple[str, int, set[str]]:
    """Return the workbook's kind, how many bytes it inflates to, and which parts may be sparse.

    Raises _RefusalError if the file is no workbook, or exceeds the limits.
    """
    start = file.read(8)
    file.seek(0)
    if start == OLE:
        return "xls", _size_of_old(file), set()
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(names) > MAX_PARTS:
                raise _bomb(f"has {len(names):,} parts")
            kind = _kind(archive, names)
            inflated, sparse = _inflate(archive)
    except _BROKEN:
        raise _broken() from None
    file.seek(0)
    return kind, inflated, sparse


def _as_shown(file: BinaryIO, kind: str, sparse: set[str]) -> tuple[BinaryIO, dict[str, Gaps]]:
    try:
        return shown.as_shown(file, kind, sparse)
    except _BROKEN as error:
        if getattr(error, "errno", None):  # the disk
            raise
        raise _broken() from None


def _kind(archive: zipfile.ZipFile, names: list[str]) -> str:
    types = mimetype = b""
    try:
        if "[Content_Types].xml" in names:
            with archive.open("[Content_Types].xml") as part:
                types = part.read(_BLOCK)
        if "mimetype" in names:
            with archive.open("mimetype") as part:
                mimetype = part.read(_BLOCK)
    except RuntimeError:  # the part is encrypted
        raise _encrypted() from None
    for content_type, kind in _KINDS.items():
        if content_type in types:
            return kind
    if mimetype.startswith(_ODS):
        return "ods"
    is_document = mimetype or b"wordprocessingml" in types or b"presentationml" in types
    if is_document:
        raise _no_workbook("a document")
    raise _no_workbook("an archive", "Unpack it, and upload the list that is in it.")


def _inflate(archive: zipfile.ZipFile) -> tuple[int, set[str]]:
    """Inflate all parts, and return the sum of their bytes, and the parts that may be sparse.

    The declared sizes may be false.
    """
    total, sparse = 0, set()
    for part in archive.infolist():
        if part.flag_bits & 0x1:
            raise _encrypted()
        if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _broken()
        expected = total + part.file_size
        part.file_size = sys.maxsize  # or else zipfile would not read beyond the declared size
        del part.CRC  # saves time: calamine checks the parts that it reads
        detector = shown.sparse_detector(part.filename)
        with archive.open(part) as content:
            while block := content.read(_BLOCK):
                total += len(block)
                if total > MAX_INFLATED:
                    raise _bomb(f"inflates to more than {MAX_INFLATED // 1_000_000:,} MB")
                if detector:
                    detector.feed(block)
        if detector and detector.sparse:
            sparse.add(part.filename)
        if total != expected:
            raise _broken()
    return total, sparse


def _size_of_old(file: BinaryIO) -> int:
    """Return the number of bytes of an XLS file. Raises _RefusalError for an encrypted workbook."""
    previous, size = b"", 0
    while block := file.read(_BLOCK):
        if "EncryptedPackage".encode("utf-16-le") in previous + block:
            raise _encrypted()
        previous = block[-64:]
        size += len(block)
    file.seek(0)
    return size


def _encrypted() -> _RefusalError:
    return _RefusalError("encrypted_workbook", "The workbook has a password. Save it without.")


def _no_workbook(what: str, advice: str = _SAVE) -> _RefusalError:
    return _RefusalError("not_xlsx", f"The file is {what} that is no workbook. {advice}")


def _broken() -> _RefusalError:
    return _RefusalError(
        "broken_workbook", f"The workbook is broken or not all of it is there. {_SAVE}"
    )


def _bomb(what: str) -> _RefusalError:
    return _RefusalError(
        "zip_bomb",
        f"The workbook {what}, which is too much. Save its sheet as CSV in UTF-8 and upload that.",
    )


def _write(file: BinaryIO, kind: str, choice: str, left_out: dict[str, Gaps]) -> None:
    """Write the line of JSON and the rows of a sheet."""
    from python_calamine import CalamineError, PasswordError

    try:
        workbook = _opened(file, kind)
        sheets = _sheets(workbook, counted=choice == "best")
        name = _choose(sheets, choice)
        sheet = _sheet(workbook, name)
    except PasswordError:
        raise _encrypted() from None
    except (CalamineError, ValueError, OSError):
        raise _broken() from None
    output = io.TextIOWrapper(sys.stdout.buffer, "utf-8", newline="")
    if not _has_address(sheet):
        offered = [name] if choice.startswith("=") else [each[0] for each in sheets if not each[1]]
        _check_formulas(file, kind, offered)
    gaps = left_out.get(name, Gaps()).as_json()
    output.write(f"{json.dumps([kind, name, sheets, gaps])}\n")
    if sheet.start is not None:
        _write_rows(sheet, output, gaps)
    output.flush()


def _opened(file: BinaryIO, kind: str) -> Any:
    """Return a workbook of python-calamine's, or of xls.py, which has the same methods."""
    if kind != "xls":
        from python_calamine import CalamineWorkbook

        return CalamineWorkbook.from_filelike(file)
    from tabular.workbooks import xls

    try:
        return xls.Workbook(file)
    except MemoryError:
        raise
    except Exception as error:  # xlrd raises many kinds for a broken workbook
        if "encrypted" in str(error):
            raise _encrypted() from None
        raise (_no_workbook("a document") if "find workbook" in str(error) else _broken()) from None


def _sheets(workbook: Any, *, counted: bool) -> list[_Sheet]:
    """Return the sheets; what is in them is counted if there are several."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    found: list[_Sheet] = []
    all_sheets = [s for s in workbook.sheets_metadata if s.typ == SheetTypeEnum.WorkSheet]
    if any("\0" in each.name for each in all_sheets):  # PostgreSQL's text can't contain one
        raise _broken()
    for each in all_sheets:
        rows = addresses = None
        if counted and len(all_sheets) > 1 and len(found) < MAX_SHEETS:
            rows, addresses = _count(_sheet(workbook, each.name))
        found.append((each.name, each.visible != SheetVisibleEnum.Visible, rows, addresses))
    return found


def _sheet(workbook: Any, name: str) -> Any:
    """Return a sheet, or raise _RefusalError if it claims a row that no sheet has.

    python-calamine would go through the four billion empty rows before it.
    """
    sheet = workbook.get_sheet_by_name(name)
    if sheet.end is not None and sheet.end[0] >= MAX_ROWS:
        raise _broken()
    return sheet


def _count(sheet: Any) -> tuple[int, int]:
    """Return the number of rows with anything in them, and of cells with an address."""
    rows = addresses = 0
    for row in sheet.iter_rows():
        rows += any(cell != "" for cell in row)
        for cell in row:
            if type(cell) is str and "@" in cell and _ADDRESS.search(cell[:MAX_ROW]):
                addresses += 1
    return rows, addresses


def _has_address(sheet: Any) -> bool:
    return any(type(cell) is str and "@" in cell for row in sheet.iter_rows() for cell in row)


def _check_formulas(file: BinaryIO, kind: str, names: list[str]) -> None:
    """Refuse the workbook if formulas of these sheets, which have no address, lack a value."""
    for name in names[:MAX_SHEETS]:
        if shown.never_calculated(file, kind, name):
            raise _RefusalError(
                "uncalculated_formulas",
                f"The sheet {name!r} has formulas that were never calculated, and so no addresses."
                " Open the workbook in a spreadsheet, and save it there.",
            )


def _choose(sheets: list[_Sheet], choice: str) -> str:
    """Return the name of the sheet that the argument of this process chooses."""
    if not sheets:
        raise _RefusalError("no_sheet", "The workbook has no sheet with rows.")
    if choice.startswith("="):
        return _named(sheets, json.loads(choice[1:]))
    offered = [sheet for sheet in sheets if not sheet[1]] or sheets
    if choice == "best":
        return max(offered, key=lambda sheet: (sheet[3] or 0, bool(sheet[2])))[0]
    return offered[0][0]


def _named(sheets: list[_Sheet], text: str) -> str:
    names = [name for name, *_ in sheets]
    # As it is written first: for Excel, Straße and Strasse are two names.
    for alike in (str, str.casefold):
        for name in names:
            if alike(name) == alike(text):
                return name
    if re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= len(names):
        return names[int(text) - 1]
    listed = ", ".join(f"{number} ({name})" for number, name in enumerate(names[:LISTED], start=1))
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    raise _RefusalError("bad_sheet", f"There is no sheet {text!r}. The sheets are {listed}{more}.")


def _write_rows(sheet: Any, output: io.TextIOWrapper, gaps: list[tuple[int, int]]) -> None:
    _, column = sheet.start
    writer = csv.writer(output)  # quotes cells with CR or LF, because both are in its line end
    left = [""] * column  # iter_rows() begins with the first row, but not with the first column
    for number, cells in numbered(sheet.iter_rows(), gaps):
        # PostgreSQL's text can't contain a NUL, as a workbook's cell can.
        row = [
            cell.replace("\0", "") if type(cell) is str else number_formats.plain(cell)
            for cell in cells
        ]
        length = sum(map(len, row)) + column + len(row)
        if length > MAX_CELL and (refusal := _too_long(length, row, number)):
            output.flush()  # the parent may find an error in an earlier row, and report that
            raise refusal
        writer.writerow(left + row if any(row) else [])


def _too_long(length: int, row: list[str], number: int) -> _RefusalError | None:
    """Return the refusal of a row of `length` characters, None if it and its cells fit."""
    if length > MAX_ROW:
        what = f"this row is longer than {MAX_ROW:,} characters"
        return _RefusalError("row_too_long", f"{what}. Put one address on each row.", number)
    if max(map(len, row)) > MAX_CELL:
        what = f"this row has a cell of more than {MAX_CELL:,} characters"
        return _RefusalError("cell_too_long", f"{what}. Shorten it or delete it.", number)
    return None


if __name__ == "__main__":
    main()

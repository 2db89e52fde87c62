"""The rows of a workbook (XLSX), which a child process reads: sheetreader.py.

The library keeps a whole sheet in memory, and what is in a workbook may be meant to do harm; so it
is a child that has limited memory and time, and rows come from it through a pipe, one by one.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, BinaryIO

from formats import IntakeError
from sheetreader import OLE, REFUSED

_CHILD = Path(__file__).resolve().parent / "sheetreader.py"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def is_workbook(start: bytes) -> bool:
    """Whether a file that begins so is a workbook, or an archive of another kind."""
    return start.startswith((*_ZIP, OLE))


def rows(file: BinaryIO) -> Generator[tuple[int, list[str]], None, None]:
    """All rows of the first sheet, with their numbers. Raises IntakeError."""
    with tempfile.TemporaryFile() as copy, tempfile.TemporaryFile() as errors:
        file.seek(0)
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD)], stdin=copy, stdout=subprocess.PIPE, stderr=errors
        )
        assert child.stdout is not None  # noqa: S101 (it is a pipe)
        try:
            yield from _read(child.stdout)
            if child.wait() != 0:
                raise _error(child.returncode, errors)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


def _read(stdout: IO[bytes]) -> Generator[tuple[int, list[str]], None, None]:
    text = io.TextIOWrapper(stdout, "utf-8", newline="")
    try:
        yield from enumerate(csv.reader(text), start=1)
    except csv.Error as error:
        # A cell beyond the limit, or a row that was broken off by the child's death.
        raise IntakeError("bad_sheet", f"The sheet can't be read: {error}.") from None
    finally:
        text.detach()


def _error(status: int, errors: IO[bytes]) -> IntakeError:
    if status == REFUSED:
        errors.seek(0)
        code, http_status, message = json.loads(errors.read().splitlines()[-1])
        return IntakeError(code, message, status=http_status)
    return IntakeError(
        "workbook_too_large",
        "The workbook takes too much memory or time to be read. Save its sheet as CSV in UTF-8 and"
        " upload that.",
        status=413,
    )

"""Reads a sheet of a workbook, of Excel or LibreOffice, through a child process, child.py.

The library python-calamine keeps a whole sheet in memory, and a workbook may be made to do harm. So
each is read by a child process with limited memory and time, and few run at once. The child writes
the rows to a file, which is read meanwhile, so that no child has to wait for a slow download.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from tabular import kinds
from tabular.formats import IntakeError
from tabular.workbooks.child import DISK_FULL, OLE, REFUSED
from tabular.workbooks.gaps import numbered

_CHILD = Path(__file__).with_name("child.py").resolve()
# The most children at once, because each may take a processor and some hundred megabytes; and the
# seconds that a request waits for a place among them.
CHILDREN = 2
WAIT_SECONDS = 3
# Seconds after which to look again whether a child has written more.
_POLL = 0.01
# The choices of a sheet: the visible one with most addresses; and the first visible one, as batches
# were read before there was a choice.
BEST, FIRST = "best", "first"
KINDS = ("xlsx", "xlsm", "xlsb", "xls", "ods")
_places = threading.BoundedSemaphore(CHILDREN)


def is_workbook(file: BinaryIO) -> bool:
    """Tell whether to read the file as a workbook: a ZIP archive, or a file of old Excel.

    The file is left at its beginning.
    """
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    return start.startswith((*kinds.ZIP, OLE))


class Sheet(NamedTuple):
    """A sheet of a workbook.

    rows: how many rows have something in them; None if nothing was counted.
    addresses: how many cells have an address; None if nothing was counted.

    Nothing is counted if a person chose the sheet, if it is the only one, or if there are too many.
    """

    name: str
    hidden: bool
    rows: int | None
    addresses: int | None


@dataclass
class Reading:
    """A sheet that is being read by a child, until its rows are closed.

    kind: the kind of the workbook, one of KINDS.
    sheet: the name of the sheet.
    sheets: all sheets of the workbook.
    rows: the rows of the sheet, each with its number.
    """

    kind: str
    sheet: str
    sheets: list[Sheet]
    rows: Generator[tuple[int, list[str]], None, None]


def read(file: BinaryIO, choice: str = BEST) -> Reading:
    """Begin to read a sheet. Raises IntakeError.

    choice: BEST, FIRST, or named() of a sheet's name or number.

    Reading the rows raises IntakeError, too, and OSError if the disk is full.
    """
    lines = _lines(file, choice)
    first = next(lines, "")
    if not first.endswith("\n"):  # the child has died, and what follows raises why
        first += "".join(lines)
    kind, sheet, sheets, left_out = json.loads(first)
    return Reading(kind, sheet, [*map(Sheet._make, sheets)], _rows(lines, left_out))


def named(text: str) -> str:
    """Return the choice of a sheet by its name, or by its number from 1."""
    return f"={json.dumps(text)}"  # an argument of a process can't have every character


def _rows(
    lines: Generator[str, None, None], left_out: list[list[int]]
) -> Generator[tuple[int, list[str]], None, None]:
    with closing(lines):
        yield from numbered(csv.reader(lines), left_out)


def _lines(file: BinaryIO, choice: str) -> Generator[str, None, None]:
    """Yield the lines that a child writes."""
    with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as errors:
        child = _start(file, choice, written, errors)
        try:
            output = io.BufferedReader(_Output(child, written.fileno()))
            # A child that dies may leave half a character behind; the error below reports it.
            yield from io.TextIOWrapper(output, "utf-8", errors="replace", newline="")
            if child.wait() != 0:
                raise _error(child.returncode, errors)
        finally:
            child.kill()
            child.wait()


def _start(
    file: BinaryIO, choice: str, output: IO[bytes], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a child that reads the workbook. Raises IntakeError if no place is free in time."""
    if not _places.acquire(timeout=WAIT_SECONDS):
        raise IntakeError(
            "too_many_workbooks",
            "The server is reading as many workbooks as it may at once. Please try again soon, or"
            " save the sheet as CSV in UTF-8.",
        )
    try:
        with tempfile.TemporaryFile() as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            child = subprocess.Popen(
                [sys.executable, "-I", str(_CHILD), choice],
                stdin=copy,
                stdout=output,
                stderr=errors,
            )
        # The place is free as soon as the child ends, however slowly its rows are read.
        threading.Thread(target=_give_back, args=(child,), daemon=True).start()
    except BaseException:
        _places.release()
        raise
    return child


def _give_back(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    _places.release()


class _Output(io.RawIOBase):
    """The file that a child writes; it ends when the child has ended."""

    def __init__(self, child: subprocess.Popen[bytes], descriptor: int) -> None:
        self._child = child
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            # Polled before the read, or the last bytes might be missed.
            ended = self._child.poll() is not None
            # The descriptor shares its position with the child, which writes there.
            length = os.preadv(self._descriptor, [buffer], self._position)
            if length or ended:
                self._position += length
                return length
            time.sleep(_POLL)


def _error(status: int, errors: IO[bytes]) -> Exception:
    """Return the error that a child's exit status and standard error tell."""
    if status == REFUSED:
        errors.seek(0)
        code, message, row = json.loads(errors.read().splitlines()[-1])
        return IntakeError(code, message, line=row)
    if status == DISK_FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return IntakeError(
        "workbook_too_large",
        "The workbook takes too much memory or time to be read. Save its sheet as CSV in UTF-8 and"
        " upload that.",
    )

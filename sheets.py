"""The rows of a workbook (XLSX), which a child process reads: sheetreader.py.

The library keeps a whole sheet in memory, and what is in a workbook may be meant to do harm. So it
is a child that has limited memory and time, and there are few of them at once. It writes the rows
into a file, from which they are read at once, but which holds no child up while somebody who
downloads them is slow.
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
from pathlib import Path
from typing import IO, BinaryIO

from formats import IntakeError
from sheetreader import DISK_FULL, OLE, REFUSED

_CHILD = Path(__file__).resolve().parent / "sheetreader.py"
# Children at once, each of which may take a processor and some hundred megabytes; and seconds that
# somebody waits for a place.
CHILDREN = 2
WAIT_SECONDS = 3
# Seconds between two looks at what a child has written.
_POLL = 0.01
_places = threading.BoundedSemaphore(CHILDREN)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def is_workbook(start: bytes) -> bool:
    """Whether a file that begins so is a workbook, or an archive of another kind."""
    return start.startswith((*_ZIP, OLE))


def rows(file: BinaryIO) -> Generator[tuple[int, list[str]], None, None]:
    """All rows of the first sheet, with their numbers. Raises IntakeError, and OSError if the disk
    is full."""
    with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as errors:
        child = _start(file, written, errors)
        try:
            yield from _read(_Output(child, written.fileno()))
            if child.wait() != 0:
                raise _error(child.returncode, errors)
        finally:
            child.kill()
            child.wait()


def _start(file: BinaryIO, output: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a child that reads the workbook. Raises IntakeError if no place gets free in time."""
    if not _places.acquire(timeout=WAIT_SECONDS):
        raise IntakeError(
            "too_many_workbooks",
            "The server is reading as many workbooks as it may at once. Please try again soon, or"
            " save the sheet as CSV in UTF-8.",
            status=503,
        )
    try:
        with tempfile.TemporaryFile() as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            child = subprocess.Popen(
                [sys.executable, "-I", str(_CHILD)], stdin=copy, stdout=output, stderr=errors
            )
        # Whoever reads the rows may take long to ask for the next, or never do.
        threading.Thread(target=_give_back, args=(child,), daemon=True).start()
    except BaseException:
        _places.release()
        raise
    return child


def _give_back(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    _places.release()


class _Output(io.RawIOBase):
    """What a child writes into a file, until it has ended."""

    def __init__(self, child: subprocess.Popen[bytes], descriptor: int) -> None:
        self._child = child
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            ended = self._child.poll() is not None  # before what it wrote last is looked for
            # At a place of our own, because the child has its own in the same file.
            length = os.preadv(self._descriptor, [buffer], self._position)
            if length or ended:
                self._position += length
                return length
            time.sleep(_POLL)


def _read(output: io.RawIOBase) -> Generator[tuple[int, list[str]], None, None]:
    text = io.TextIOWrapper(io.BufferedReader(output), "utf-8", newline="")
    number = 0
    try:
        for number, cells in enumerate(csv.reader(text), start=1):
            yield number, cells
    except csv.Error as error:
        # A row that was broken off by the child's death, in the middle of a quoted cell perhaps.
        raise IntakeError(
            "bad_sheet", f"this row can't be read: {error}.", line=number + 1
        ) from None


def _error(status: int, errors: IO[bytes]) -> Exception:
    if status == REFUSED:
        errors.seek(0)
        code, http_status, message, row = json.loads(errors.read().splitlines()[-1])
        return IntakeError(code, message, status=http_status, line=row)
    if status == DISK_FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return IntakeError(
        "workbook_too_large",
        "The workbook takes too much memory or time to be read. Save its sheet as CSV in UTF-8 and"
        " upload that.",
        status=413,
    )

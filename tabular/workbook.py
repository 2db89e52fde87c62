"""The rows of a workbook (XLSX), which a child process reads: workbook_child.py.

The library keeps a whole sheet in memory, and a workbook may be made to do harm. So each is read by
a child process with limited memory and time, of which there are few at once. The child writes the
rows into a file, from which they are read while it writes; a slow download doesn't keep it waiting.
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

from tabular.formats import IntakeError
from tabular.workbook_child import DISK_FULL, OLE, REFUSED

_CHILD = Path(__file__).with_name("workbook_child.py").resolve()
# The most children at once, each of which may take a processor and some hundred megabytes; and the
# seconds that a request waits for a place.
CHILDREN = 2
WAIT_SECONDS = 3
# Seconds between two looks whether a child has written more.
_POLL = 0.01
_places = threading.BoundedSemaphore(CHILDREN)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def is_workbook(start: bytes) -> bool:
    """Whether a file that begins so may be a workbook: a ZIP archive, or a file of old Excel."""
    return start.startswith((*_ZIP, OLE))


def rows(file: BinaryIO) -> Generator[tuple[int, list[str]], None, None]:
    """Yield all rows of the first visible sheet, with their numbers.

    Raises IntakeError, and OSError if the disk is full.
    """
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
        )
    try:
        with tempfile.TemporaryFile() as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            child = subprocess.Popen(
                [sys.executable, "-I", str(_CHILD)], stdin=copy, stdout=output, stderr=errors
            )
        # The place is free when the child ends, even if nobody goes on reading its rows.
        threading.Thread(target=_give_back, args=(child,), daemon=True).start()
    except BaseException:
        _places.release()
        raise
    return child


def _give_back(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    _places.release()


class _Output(io.RawIOBase):
    """Reads the file that a child writes, until the child has ended."""

    def __init__(self, child: subprocess.Popen[bytes], descriptor: int) -> None:
        self._child = child
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            # Asked before reading, so that no last bytes are missed.
            ended = self._child.poll() is not None
            # At a position of our own: the descriptor's own is where the child writes.
            length = os.preadv(self._descriptor, [buffer], self._position)
            if length or ended:
                self._position += length
                return length
            time.sleep(_POLL)


def _read(output: io.RawIOBase) -> Generator[tuple[int, list[str]], None, None]:
    # A child that died may have written half a character. rows() says then what it died of.
    text = io.TextIOWrapper(io.BufferedReader(output), "utf-8", errors="replace", newline="")
    yield from enumerate(csv.reader(text), start=1)


def _error(status: int, errors: IO[bytes]) -> Exception:
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

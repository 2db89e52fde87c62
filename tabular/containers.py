"""Unpacks the list that is in a gzip file or in a ZIP archive."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import IO, BinaryIO, cast

from runtime.phrases import shorten
from tabular import kinds
from tabular.formats import IntakeError

_BLOCK = 1 << 20
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile)
# Parts that only workbooks and other documents have, and the folder that macOS adds to an archive.
_DOCUMENT = ("[Content_Types].xml", "mimetype")
_ADDED = "__MACOSX/"
# How parts may be compressed. LZMA could be made to take gigabytes of memory.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# The most parts of an archive, and the names of them that an error lists.
MAX_PARTS, LISTED = 1000, 5


def unpacked(file: BinaryIO, name: str, limit: int) -> tuple[BinaryIO, str]:
    """Return the list in a gzip file or a ZIP archive, and its name; any other file as it is.

    The list is a temporary file, which the caller must close.

    limit: the most bytes that the list may have.

    Raises IntakeError.
    """
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start.startswith(kinds.GZIP):
        with gzip.GzipFile(fileobj=file) as content:
            copy = _copied(cast("IO[bytes]", content), limit)
            return copy, name.removesuffix(".gz").removesuffix(".GZ")
    if not start.startswith(kinds.ZIP):
        return file, name
    try:
        with zipfile.ZipFile(file) as archive:
            part = _list_of(archive)
            if part is None:
                file.seek(0)
                return file, name
            with archive.open(part) as content:
                return _copied(content, limit), PurePosixPath(part.filename).name
    except IntakeError:
        raise
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, OSError):
        file.seek(0)  # it will be read as a workbook, and refused with what is wrong
        return file, name


def _list_of(archive: zipfile.ZipFile) -> zipfile.ZipInfo | None:
    """Return the only file in an archive; None if the archive is a document itself."""
    names = archive.namelist()
    if len(names) > MAX_PARTS or any(name in names for name in _DOCUMENT):
        return None
    files = [part for part in archive.infolist() if not part.is_dir()]
    files = [part for part in files if not _is_hidden(part.filename)]
    if len(files) == 1 and not files[0].flag_bits & 1:
        if files[0].compress_type not in _METHODS:
            raise _broken("is packed in a way that can't be read here. Unpack it first")
        return files[0]
    if not files:
        raise IntakeError("empty_file", "The archive is empty.")
    if len(files) == 1:
        raise IntakeError("encrypted_archive", "The archive has a password. Unpack it first.")
    listed = ", ".join(shorten(part.filename, 60) for part in files[:LISTED])
    more = f" and {len(files) - LISTED:,} more" if len(files) > LISTED else ""
    raise IntakeError(
        "several_files",
        f"The archive has {len(files):,} files: {listed}{more}. Unpack it and upload each list.",
    )


def _copied(content: IO[bytes], limit: int) -> BinaryIO:
    """Return a temporary file with the content. Raises IntakeError, also over the limit."""
    copy = TemporaryFile()  # noqa: SIM115  # the caller closes it
    size = 0
    try:
        while block := content.read(_BLOCK):
            size += len(block)
            if size > limit:
                raise IntakeError(
                    "zip_bomb",
                    f"The list is larger than {limit // 1_000_000:,} MB when it is unpacked. Split"
                    " it into smaller ones.",
                )
            copy.write(block)
    except _BROKEN:
        copy.close()
        raise _broken("can't be unpacked: it is broken, or not all is there") from None
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy


def _is_hidden(name: str) -> bool:
    return name.startswith(_ADDED) or PurePosixPath(name).name.startswith(".")


def _broken(why: str) -> IntakeError:
    return IntakeError("broken_archive", f"The file {why}.")

"""Stores a new batch of a kept file, or of the rows of it that a filter shows.

What is to be read is written to a temporary file first: the kept file is read from the database,
and nothing can be read while COPY writes to the same connection.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from tempfile import TemporaryFile

from batches import intake, kept_files, results
from batches.filters import Filter
from batches.intake import Upload
from models import Batch
from tabular.formats import Format, IntakeError

_BLOCK = 1 << 20
# The kinds of text that rows are written as, so that the file may keep its name.
_TEXT = ("csv", "list")


def store_again(
    batch: Batch,
    wanted: Filter,
    upload: Upload,
    *,
    chunk_size: int,
    max_rows: int,
    abandoned: Callable[[], bool],
) -> Batch:
    """Store the kept file of a batch, or of its rows, as a new batch, and return that.

    Raises FileNotKeptError, IncompleteError and FileNotFoundError if the file isn't there or is
    being deleted, and what intake.store() raises: `no_address` if the filter shows no address.
    """
    if batch.format is None:
        raise results.FileNotKeptError(f"batch {batch.id} was uploaded before files were kept")
    filename, found, pieces = _wanted_file(batch, Format.from_json(batch.format), wanted)
    with TemporaryFile() as file, closing(pieces):
        for piece in _until(abandoned, pieces):
            file.write(piece)
        try:
            return intake.store(
                file,
                filename,
                chunk_size=chunk_size,
                max_rows=max_rows,
                found=found,
                upload=upload,
                abandoned=abandoned,
            )
        except IntakeError as error:
            if error.code != "no_address" or not wanted.name:
                raise
            raise IntakeError(
                "no_address",
                "None of the rows that the filter shows has an address. Choose another filter.",
            ) from None


def _wanted_file(
    batch: Batch, found: Format, wanted: Filter
) -> tuple[str, Format, Generator[bytes, None, None]]:
    """Return the name, the format and the bytes of the file that is to be stored.

    Without a filter, the same bytes are read as they were, so that they give the same emails. With
    one, the new file has the header and the rows that the filter shows, as they were written, in
    UTF-8. Each of the shown addresses of a row with several has a row of its own there.
    """
    name = batch.filename
    if not wanted.name:
        return name, found, _kept(batch)
    if found.kind not in _TEXT:
        name = f"{name.rpartition('.')[0] or name}.csv"
    as_text = _as_text(found, results.wanted_above_header(batch, wanted))
    return name, as_text, results.plain_pieces(batch, wanted)


def _kept(batch: Batch) -> Generator[bytes, None, None]:
    with closing(kept_files.open_kept(batch.id)) as file:
        yield from iter(lambda: file.read(_BLOCK), b"")


def _until(abandoned: Callable[[], bool], pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces. Raises IntakeError if the client has gone."""
    for piece in pieces:
        intake.refuse_abandoned(abandoned)
        yield piece


def _as_text(found: Format, header_index: int) -> Format:
    """Return the format of the rows of such a file, as results.plain_pieces() writes them."""
    return replace(
        _without_results(found),
        kind="csv",
        encoding="utf-8",
        delimiter=found.separator,
        header_index=header_index,
        sheet=None,
    )


def _without_results(found: Format) -> Format:
    """Return the format of a file without its result columns."""
    old, header = found.result_columns, found.header
    return replace(
        found,
        header=header and tuple(name for n, name in enumerate(header) if n not in old),
        column=found.column - sum(n < found.column for n in old),
        columns=found.columns - len(old),
    )

"""A stand-in for what makes a new batch of a kept file, until the real one comes."""

from __future__ import annotations

from collections.abc import Callable

from batches import intake, kept_files
from batches.filters import Filter
from batches.intake import Upload
from models import Batch


def store_again(
    batch: Batch,
    wanted: Filter,
    upload: Upload,
    *,
    chunk_size: int,
    max_rows: int,
    abandoned: Callable[[], bool],
) -> Batch:
    """Store the kept file as a new batch. Raises IntakeError."""
    with kept_files.open_kept(batch.id) as file:
        return intake.store(
            file,
            batch.filename,
            chunk_size=chunk_size,
            max_rows=max_rows,
            upload=upload,
            abandoned=abandoned,
        )

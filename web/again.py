"""Processing a batch again: a new batch of its file, or of some of the file's rows."""

from __future__ import annotations

from typing import Any

from bottle import request

import models
from batches import again, results
from batches.intake import Upload
from models import Batch
from runtime.settings import Settings
from web import forms, uploads
from web.access import sign_in
from web.batches import Batches, file_not_kept
from web.offered import CHOICE, Offered
from web.parameters import FILTERS, filter_of_rows, refuse_unknown_parameters
from web.problems import Problem
from web.uploads import Uploads


class Again:
    """The handler. One object serves all request threads."""

    def __init__(
        self, settings: Settings, batches: Batches, uploads: Uploads, offered: Offered
    ) -> None:
        self._settings = settings
        self._batches = batches
        self._uploads = uploads
        self._offered = offered

    def again(self, batch_id: int) -> dict[str, Any]:
        """POST /api/batches/{id}/again?only=…: a new batch of the same file, or of these rows.

        The fields are those of an upload that choose a processor, its options and columns. What
        none of them says is as it was for the batch.
        """
        batch = self._batches.find(batch_id)
        refuse_unknown_parameters(*FILTERS, "only")
        wanted = filter_of_rows(batch.reasons)
        fields = forms.fields()
        self._offered.refuse_unknown((name for name, _ in fields), CHOICE)
        chosen = self._offered.choose(fields, batch)
        _refuse_unfinished(batch)
        if batch.format is None:
            raise file_not_kept("Upload the file again instead.")
        upload = Upload(
            by=sign_in.user(),
            processor=chosen.processor,
            options=chosen.options,
            columns=chosen.columns,
            taken=chosen.taken,
        )
        try:
            with uploads.problems_of_files():
                stored = again.store_again(
                    batch,
                    wanted,
                    upload,
                    chunk_size=self._settings.worker.chunk_size,
                    max_rows=self._settings.upload.max_rows,
                    abandoned=request.environ["waitress.client_disconnected"],
                )
        except (results.IncompleteError, FileNotFoundError):
            self._batches.find(batch_id)  # raises Problem if the batch has been deleted since
            raise
        return self._uploads.stored(stored)


def _refuse_unfinished(batch: Batch) -> None:
    """Raise Problem for a batch that hasn't ended."""
    if batch.status not in models.TERMINAL:
        detail = f"Batch {batch.id} is {batch.status}. Wait for its end, or cancel it first."
        raise Problem(409, "wrong_state", detail)

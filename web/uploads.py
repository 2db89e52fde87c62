"""Uploads: read the form, store its file as a batch, or show a preview of the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO

import multipart
from bottle import request, response

from batches import intake
from batches.as_json import batch_format_json, columns_json, rows_json
from batches.intake import Upload
from models import Batch, Snapshot
from runtime import logs, metrics
from runtime.phrases import shorten
from tabular import containers
from tabular.formats import IntakeError, Overrides
from web import forms, preview
from web.access import sign_in
from web.offered import CHOICE, MAX_NAME, OPTION, Offered
from web.parameters import (
    bad_parameter,
    per_minute,
    refuse_unknown_parameters,
    whole_number,
)
from web.problems import RETRY_AFTER, Problem
from web.services import Services

logger = logs.Logger("app")

# The fields of a form beside its file, each a short text: choices for reading the file, the length
# of a file of which only the first part is sent, when the batch is to begin, and the processor with
# what it gets. There may be further ones for options (web/offered.py).
_FORMAT = ("column", "delimiter", "encoding", "header", "split", "sheet")
_FIELDS = (*_FORMAT, "size", "paused", "start_at", "per_minute", *CHOICE)

# The filename of a batch made from a pasted text, and the most bytes of that text.
PASTED = "Pasted addresses.txt"
MAX_PASTED = 10_000_000
# The years in which a batch may begin. At either end of the calendar, a time may have no year in
# another time zone.
YEARS = range(2, 9001)

# The HTTP statuses of codes of an IntakeError; every other code has 422.
_STATUSES = {
    **dict.fromkeys(("too_many_rows", "workbook_too_large", "zip_bomb"), 413),
    **dict.fromkeys(("binary_file", "not_xlsx"), 415),
    **dict.fromkeys(("database_lost", "too_many_uploads", "too_many_workbooks"), 503),
}


class Form:
    """The current request's form, with a file, or a pasted text as its file.

    Must be closed, because large parts are temporary files.
    """

    def __init__(self) -> None:
        """Read the form. Raises Problem."""
        self._parts: list[multipart.MultipartPart] = []
        self._unpacked: BinaryIO | None = None
        try:
            with forms.problems_of_forms():
                for part in forms.parts(forms.received()):
                    self._parts.append(part)
                self._choose()
        except BaseException:
            self.close()
            raise

    def _choose(self) -> None:
        """Find the file, or the pasted text, among the parts."""
        files = [part for part in self._parts if part.filename or not part.is_buffered()]
        texts = [part for part in self._parts if part not in files]
        self.fields = [(part.name, part.value) for part in texts]
        self._texts = dict(self.fields)
        uploads = [part for part in files if part.name == "file"]
        if len(uploads) > 1:
            detail = f"The form has {len(uploads):,} files. Send a request for each."
            raise Problem(400, "several_files", detail)
        upload = uploads[0] if uploads else None
        text = next((part for part in self._parts if part.name == "text" and _has_text(part)), None)
        if upload is not None and text is not None:
            detail = "The form has a file and pasted addresses. Send one of them at a time."
            raise Problem(400, "file_and_text", detail)
        if upload is not None:
            self.file: BinaryIO = upload.file
            self.filename = _clean_filename(upload.filename or "")
        elif text is not None:
            self.file = text.file
            if text.size > MAX_PASTED:
                size = f"The text is longer than {MAX_PASTED // 1_000_000} MB."
                raise Problem(413, "text_too_long", f"{size} Save it as a file, and upload that.")
            self.filename = PASTED
        else:
            raise Problem(
                400,
                "no_file",
                "The form has no file. Send it as multipart/form-data in the field 'file', or"
                " addresses in the field 'text'.",
            )
        for part in files:
            if part.name in _FIELDS or part.name.startswith(OPTION):
                name = shorten(part.name, MAX_NAME)
                raise Problem(400, "bad_form", f"The field {name} must be a short text.")

    def close(self) -> None:
        if self._unpacked is not None:
            self._unpacked.close()
        for part in self._parts:
            part.close()

    def refuse_unknown(self, offered: Offered) -> None:
        """Raise Problem for a field that an upload doesn't have, or one in the query string."""
        refuse_unknown_parameters()
        offered.refuse_unknown((part.name for part in self._parts), ("file", "text", *_FIELDS))

    def unpack(self, limit_megabytes: int) -> None:
        """Take the list out of an archive. Raises Problem for a large file, and IntakeError."""
        limit = limit_megabytes * 1_000_000
        if self._length() > limit:
            detail = f"The file is larger than {limit_megabytes:,} MB. Split it into smaller ones."
            raise Problem(413, "content_too_large", detail)
        file, self.filename = containers.unpacked(self.file, self.filename, limit)
        if file is not self.file:
            self.file = self._unpacked = file

    def overrides(self) -> Overrides:
        """Return the form's choices for reading the file. Raises IntakeError."""
        return Overrides.parse(**{name: self._texts.get(name, "") for name in _FORMAT})

    def about(self, offered: Offered) -> Upload:
        """Return who uploads the file, when the batch is to begin, and what is done with it.

        offered: the processors that may be chosen. Raises Problem, and IntakeError.
        """
        paused, time, rate = (
            self._texts.get(name, "").strip() for name in ("paused", "start_at", "per_minute")
        )
        if paused not in ("", "yes", "no"):
            raise bad_parameter("paused", "be yes or no")
        start_at = _time(time)
        if time and start_at is None:
            example = "2026-12-24T08:00:00Z"
            raise bad_parameter("start_at", f"be a time with its zone, such as {example}")
        is_paused = paused == "yes" or start_at is not None
        chosen = offered.choose(self.fields)
        return Upload(
            sign_in.user(),
            is_paused,
            start_at,
            per_minute(rate),
            chosen.processor,
            chosen.options,
            chosen.columns,
            chosen.taken,
        )

    def size_of_whole(self) -> int | None:
        """Return the length, by the field `size`, of the file whose first part this is.

        None if this is the whole file. For a preview, a browser sends only the first part of a
        large file.
        """
        whole = whole_number(self._texts.get("size", "").strip()) or 0
        return whole if whole > self._length() else None

    def _length(self) -> int:
        return self.file.seek(0, os.SEEK_END)


def _clean_filename(name: str) -> str:
    """Return the file's own name, without a path or control characters, shortened."""
    name = re.split(r"[/\\]", name)[-1][:1000]
    name = "".join(c if c.isprintable() else " " for c in name)
    return name.strip()[:200] or "unnamed.csv"


def _time(text: str) -> datetime | None:
    """Return the time in UTC; None if the text isn't one with its zone, in one of the YEARS."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo and time.year in YEARS else None


def _has_text(part: multipart.MultipartPart) -> bool:
    """Return whether the part is more than white space; a part on the disk counts unread."""
    return not part.is_buffered() or bool(part.raw.strip())


def status_of(code: str) -> int:
    """Return the HTTP status that answers an IntakeError with this code."""
    return _STATUSES.get(code, 422)


@contextmanager
def problems_of_files() -> Iterator[None]:
    """Turn an IntakeError into a Problem."""
    try:
        yield
    except IntakeError as error:
        status = status_of(error.code)
        headers = {"Retry-After": RETRY_AFTER} if status == 503 else None
        raise Problem(status, error.code, str(error), headers=headers, line=error.line) from error


class Uploads:
    """The request handlers. One object serves all request threads."""

    def __init__(self, services: Services, offered: Offered) -> None:
        self._settings = services.settings
        self._services = services
        self._offered = offered

    def upload(self) -> dict[str, Any]:
        """POST /api/upload: multipart, field `file`; the batch is stored whole, or not at all."""
        settings = self._settings
        with closing(Form()) as form, problems_of_files():
            form.refuse_unknown(self._offered)
            form.unpack(settings.upload.max_megabytes)
            batch = intake.store(
                form.file,
                form.filename,
                chunk_size=settings.worker.chunk_size,
                max_rows=settings.upload.max_rows,
                overrides=form.overrides(),
                upload=form.about(self._offered),
                abandoned=request.environ["waitress.client_disconnected"],
            )
        return self.stored(batch)

    def stored(self, batch: Batch) -> dict[str, Any]:
        """Announce a batch that was just stored, and return the answer to its request."""
        self._services.postgres.end()
        metrics.UPLOADED.inc(batch.total_emails)
        stored = {"batch": batch.id, "emails": batch.total_emails, "rows": batch.total_rows}
        logger.info("stored", **stored, **sign_in.doer())
        live = self._services.announce(Snapshot.of(batch))
        response.status = 201
        response.set_header("Location", f"/api/batches/{batch.id}")
        return {
            "batchId": batch.id,
            "filename": batch.filename,
            "totalEmails": batch.total_emails,
            "status": batch.status,
            "rows": rows_json(batch),
            "format": batch_format_json(batch),
            "processor": batch.processor,
            "options": batch.options,
            "columns": columns_json(batch),
            "liveUpdates": live,
        }

    def preview(self) -> dict[str, Any]:
        """POST /api/preview: how an upload of this file would be read; nothing is stored."""
        with closing(Form()) as form, problems_of_files():
            form.refuse_unknown(self._offered)
            limits = self._settings.upload
            size = form.size_of_whole()
            form.unpack(limits.max_megabytes)
            return preview.show(form.file, form.overrides(), limits.max_rows, size=size)

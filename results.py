"""What is downloaded of a batch: the uploaded file with what came of each row, or JSON lines.

Both are streamed: the file is read again piece by piece as it was kept, and beside it the emails
and the rows that are none, page by page, each page in a session of its own. All three are in the
order of the file's lines.
"""

from __future__ import annotations

import heapq
import json
import re
from bisect import insort
from collections.abc import Iterable, Iterator
from contextlib import closing
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import files
import models
import tables
from answers import Answers, Known
from database import pool, session
from formats import Format
from models import Batch
from problems import Problem
from processors import reasons
from queries import Found
from texts import Block
from wire import email_json

# What can be asked for alone, and the verdict that it has.
ONLY = {"failed": "invalid", "ok": "ok", "risky": "risky", "unknown": "unknown"}
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
# Emails that are read at once.
PAGE = 10_000
# Emails among which those with a reason are read at once.
MARKED_PAGE = 50_000
# By this Excel knows that it is UTF-8.
_BOM = "\ufeff".encode()
# After the last of what is known.
_END = Known(1 << 62, "")


class IncompleteError(Exception):
    """Rows of the batch are missing, because it is being deleted; the download breaks off."""


def filename(batch: Batch, only: str | None, suffix: str) -> str:
    """The name that a download is saved by; it says when emails are still to be processed."""
    stem = batch.filename.rpartition(".")[0] or batch.filename
    partial = ".partial" if batch.processed_count < batch.total_emails else ""
    return f"{stem}.{only or 'results'}{partial}.{suffix}"


def disposition(name: str) -> str:
    """Content-Disposition for a download of this name (RFC 6266)."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def jsonl_pieces(batch: Batch, only: str | None) -> Iterator[bytes]:
    """A line of JSON for each email, in order. Raises IncompleteError."""
    verdict = ONLY[only] if only else None
    for page in _pages(batch):
        lines = [
            json.dumps(email_json(found), ensure_ascii=False) + "\n"
            for found in page
            if verdict is None or reasons.verdict(found.status, found.reason) == verdict
        ]
        yield "".join(lines).encode()


def csv_pieces(batch: Batch, only: str | None) -> Iterator[bytes]:
    """The file's rows with RESULT_COLUMNS added, or those rows only. Raises IncompleteError.

    Raises Problem if the file was not kept.
    """
    if batch.format is None:
        raise Problem(
            404,
            "file_not_kept",
            "This batch was uploaded before files were kept. Take results.jsonl instead.",
        )
    found = Format.from_json(batch.format)
    beginning = _BOM
    with (
        closing(files.open_kept(batch.id)) as file,
        closing(tables.blocks(file, found)) as blocks,
    ):
        for text in _answered(blocks, found, batch, ONLY[only] if only else None):
            yield beginning + text
            beginning = b""


def _answered(
    blocks: Iterable[Block], found: Format, batch: Batch, verdict: str | None
) -> Iterator[bytes]:
    """The header, and each row with what came of it; or only rows with the verdict.

    A row is an email that was processed without a reason, unless something else is known of it;
    of few rows, normally, something is, and only these are read from the database.
    """
    answers = Answers(found)
    knowns = heapq.merge(_marked(batch), _skipped(batch), key=itemgetter(0))
    known = next(knowns, _END)
    emails = 0
    # Counted from the block's first row.
    header = -1 if found.header is None else found.header_index
    if header < 0:
        yield answers.header()
    for block in blocks:
        others: list[tuple[int, Known | None]] = []
        while known.line <= block.numbers[-1]:
            if (position := block.position(known.line)) is None:
                raise IncompleteError(f"batch {batch.id}: no row begins on line {known.line}")
            others.append((position, known))
            emails -= not known.is_email
            known = next(knowns, _END)
        emails += len(block)
        if 0 <= header < len(block):
            insort(others, (header, None), key=itemgetter(0))
            emails -= 1
        header -= len(block)
        if text := answers.text(block, others, verdict):
            yield text
    if known is not _END or emails != batch.total_emails:
        raise IncompleteError(f"batch {batch.id}: {emails} of its emails are in its file")


# The database, a page at a time.


def _marked(batch: Batch) -> Iterator[Known]:
    """The emails with a reason, and those still pending, by line. Raises IncompleteError."""
    for first in range(1, batch.total_emails + 1, MARKED_PAGE):
        rows = _read(
            batch,
            "SELECT row_number, status, reason, NULL FROM email"
            " WHERE batch_id = %s AND id BETWEEN %s AND %s"
            " AND (reason IS NOT NULL OR status = 'pending') ORDER BY id",
            first,
            first + MARKED_PAGE - 1,
        )
        yield from map(Known._make, rows)


def _skipped(batch: Batch) -> Iterator[Known]:
    """The rows that became no emails, by line. Raises IncompleteError."""
    after = 0
    while rows := _read(
        batch,
        "SELECT row_number, kind, NULL, first_row FROM skipped_row"
        " WHERE batch_id = %s AND row_number > %s ORDER BY row_number LIMIT %s",
        after,
        PAGE,
    ):
        yield from map(Known._make, rows)
        after = rows[-1][0]


def _pages(batch: Batch) -> Iterator[list[Found]]:
    """All emails of the batch, page by page. Raises IncompleteError if one is missing."""
    for first in range(1, batch.total_emails + 1, PAGE):
        rows = _read(
            batch,
            "SELECT id, email, row_number, status, reason FROM email"
            " WHERE batch_id = %s AND id BETWEEN %s AND %s ORDER BY id",
            first,
            first + PAGE - 1,
        )
        yield [Found(*row) for row in rows]


def _read(batch: Batch, sql: str, *parameters: int) -> list[Any]:
    """Rows of the batch. Raises IncompleteError if the batch is deleted, and some may be gone."""
    with session():
        rows = list(pool.execute_sql(sql, (batch.id, *parameters)).fetchall())
        # Afterwards: a batch is marked as deleted before its first row is removed.
        if not models.snapshots([batch.id]):
            raise IncompleteError(f"batch {batch.id} has been deleted")
    return rows

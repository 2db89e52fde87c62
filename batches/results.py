"""What is downloaded of a batch: the uploaded file with what came of each row, or JSON lines.

Both are streamed: the file is read again piece by piece as it was kept, and beside it the emails
and the rows that are none, page by page, each page in a session of its own. All three are in the
order of the file's lines.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import models
from batches import kept_files, snapshots
from batches.as_json import email_json
from batches.queries import Found
from batches.result_rows import Answers, Known
from models import Batch
from postgres.database import pool, session
from processors import reasons
from tabular import reader
from tabular.formats import Format
from tabular.text import Block
from web.problems import Problem

# What can be asked for alone, and the verdict that it has.
ONLY = {"failed": "invalid", "ok": "ok", "risky": "risky", "unknown": "unknown"}
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
# Emails, or other rows, that are read at once; and bytes of their addresses, or one more.
PAGE, PAGE_BYTES = 4_000, 1 << 20
# Emails among which those with a reason are read at once.
MARKED_PAGE = 25_000
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
        closing(kept_files.open_kept(batch.id)) as file,
        closing(reader.blocks(file, found)) as blocks,
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
    marked = _ByLine(_read_ahead(_marked(batch)))
    skipped = _ByLine(_skipped(batch))
    emails = 0
    # Counted from the block's first row.
    header = -1 if found.header is None else found.header_index
    for block in blocks:
        knowns, no_emails = marked.until(block.numbers[-1]), skipped.until(block.numbers[-1])
        emails += len(block) - len(no_emails)
        if no_emails:
            knowns = sorted(knowns + no_emails, key=itemgetter(0))
        others: list[tuple[int, Known | None]] = []
        others += zip(_positions(block, knowns, batch), knowns, strict=True)
        if 0 <= header < len(block):
            insort(others, (header, None), key=itemgetter(0))
            emails -= 1
        if found.header is None and block.numbers[0] == 1:
            yield answers.header()  # now that there is something below it
        header -= len(block)
        yield from answers.pieces(block, others, verdict)
    if emails != batch.total_emails or any(
        rest.until(models.MAX_LINE) for rest in (marked, skipped)
    ):
        raise IncompleteError(f"batch {batch.id}: {emails} of its emails are in its file")


def _positions(block: Block, knowns: list[Known], batch: Batch) -> list[int]:
    """Where in the block the rows are. Raises IncompleteError if one is not."""
    positions = block.positions([known.line for known in knowns])
    if positions is None:
        raise IncompleteError(f"batch {batch.id}: rows of its file are not where they were")
    return positions


class _ByLine:
    """What is known of rows, in pages by line, taken as far as it is needed."""

    def __init__(self, pages: Iterator[list[Known]]) -> None:
        self._pages = pages
        self._page: list[Known] = []

    def until(self, line: int) -> list[Known]:
        """The next, up to this line. Raises IncompleteError."""
        taken: list[Known] = []
        while not self._page or self._page[-1].line <= line:
            taken += self._page
            self._page = next(self._pages, [_END])
        end = bisect_right(self._page, line, key=itemgetter(0))
        taken += self._page[:end]
        del self._page[:end]
        return taken


def _read_ahead(pages: Iterator[list[Known]]) -> Iterator[list[Known]]:
    """The same; PostgreSQL looks for each page while the one before it is used."""
    with ThreadPoolExecutor(1) as executor:
        following = executor.submit(next, pages, None)
        while (page := following.result()) is not None:
            following = executor.submit(next, pages, None)
            yield page


# The database, a page at a time.


def _marked(batch: Batch) -> Iterator[list[Known]]:
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
        yield [*map(Known._make, rows)]


def _skipped(batch: Batch) -> Iterator[list[Known]]:
    """The rows that became no emails, by line. Raises IncompleteError."""
    after = 0
    while rows := _read(
        batch,
        "SELECT row_number, kind, NULL, first_row FROM skipped_row"
        " WHERE batch_id = %s AND row_number > %s ORDER BY row_number LIMIT %s",
        after,
        PAGE,
    ):
        yield [*map(Known._make, rows)]
        after = rows[-1][0]


def _pages(batch: Batch) -> Iterator[list[Found]]:
    """All emails of the batch, page by page. Raises IncompleteError if one is missing."""
    last = 0
    while last < batch.total_emails:
        rows = _read(
            batch,
            "SELECT id, email, row_number, status, reason FROM ("
            "  SELECT *,"
            "   sum(octet_length(email)) OVER (ORDER BY id) - octet_length(email) AS before"
            "  FROM email WHERE batch_id = %s AND id BETWEEN %s AND %s"
            ") AS page WHERE before < %s ORDER BY id",
            last + 1,
            last + PAGE,
            PAGE_BYTES,
        )
        if not rows:
            raise IncompleteError(f"batch {batch.id}: it has no email {last + 1}")
        yield [Found(*row) for row in rows]
        last = rows[-1][0]


def _read(batch: Batch, sql: str, *parameters: int) -> list[Any]:
    """Rows of the batch. Raises IncompleteError if the batch is deleted, and some may be gone."""
    with session():
        rows = list(pool.execute_sql(sql, (batch.id, *parameters)).fetchall())
        # Afterwards: a batch is marked as deleted before its first row is removed.
        if not snapshots.present([batch.id]):
            raise IncompleteError(f"batch {batch.id} has been deleted")
    return rows

"""Yields the results of a batch: its file with RESULT_COLUMNS added, or JSON lines.

The kept file is read again in blocks. The results of its rows are read from the database in pages,
each in a session of its own. Both are in the order of the file's lines.
"""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from operator import itemgetter
from typing import Any

import models
from batches import kept_files, snapshots
from batches.as_json import email_json
from batches.queries import Found
from batches.result_rows import ResultWriter, RowResult
from models import Batch
from postgres.database import pool, session
from processors import reasons
from tabular import reader
from tabular.formats import Format
from tabular.text import Block

# The parts of the results that can be downloaded by themselves, each with its verdict.
ONLY = {"failed": "invalid", "ok": "ok", "risky": "risky", "unknown": "unknown"}
# The most emails or skipped rows in a page, and the bytes of addresses at which a page of emails
# ends.
PAGE, PAGE_BYTES = 4_000, 1 << 20
# Emails among which one statement looks for those with a reason.
MARKED_PAGE = 25_000
# Comes after the last page.
_END = RowResult(1 << 62, "")


class FileNotKeptError(Exception):
    """The batch was uploaded before files were kept."""


class IncompleteError(Exception):
    """Rows of the batch are missing, because it is being deleted."""


def jsonl_pieces(batch: Batch, only: str | None) -> Iterator[bytes]:
    """Yield a line of JSON for each email, by id, or for those of one part. Raises IncompleteError.

    `only` is a key of ONLY.
    """
    verdict = ONLY[only] if only else None
    for page in _pages(batch):
        lines = [
            json.dumps(email_json(found), ensure_ascii=False) + "\n"
            for found in page
            if verdict is None or reasons.verdict(found.status, found.reason) == verdict
        ]
        yield "".join(lines).encode()


def csv_pieces(batch: Batch, only: str | None) -> Iterator[bytes]:
    """Yield the file's rows with RESULT_COLUMNS added, or the header and the rows of one part.

    `only` is a key of ONLY. Raises FileNotKeptError and IncompleteError.
    """
    if batch.format is None:
        raise FileNotKeptError(f"batch {batch.id} was uploaded before files were kept")
    found = Format.from_json(batch.format)
    with (
        closing(kept_files.open_kept(batch.id)) as file,
        closing(reader.blocks(file, found)) as blocks,
    ):
        pieces = _rows(blocks, found, batch, ONLY[only] if only else None)
        yield BOM_UTF8 + next(pieces, b"")  # tells Excel that the file is UTF-8
        yield from pieces


def _rows(
    blocks: Iterable[Block], found: Format, batch: Batch, verdict: str | None
) -> Iterator[bytes]:
    """Yield the header and the rows, or only the rows with the verdict.

    Most rows are emails that were processed without a reason; only the results of the others are
    read from the database.
    """
    writer = ResultWriter(found)
    marked, skipped = _ByLine(_read_ahead(_marked(batch))), _ByLine(_skipped(batch))
    emails = 0
    # The header's position, counted from the block's first row.
    header = -1 if found.header is None else found.header_index
    for block in blocks:
        no_emails = skipped.until(block.numbers[-1])
        results = sorted(marked.until(block.numbers[-1]) + no_emails, key=itemgetter(0))
        emails += len(block) - len(no_emails)
        positions = block.positions([result.line for result in results])
        if positions is None:
            raise IncompleteError(f"batch {batch.id}: rows of its file are not where they were")
        others: list[tuple[int, RowResult | None]] = [*zip(positions, results, strict=True)]
        if 0 <= header < len(block):
            insort(others, (header, None), key=itemgetter(0))
            emails -= 1
        header -= len(block)
        # Only after the first results are read: an error before the first piece becomes a response.
        if found.header is None and block.numbers[0] == 1:
            yield writer.header()
        yield from writer.pieces(block, others, verdict)
    rest = marked.until(models.MAX_LINE) + skipped.until(models.MAX_LINE)
    if rest or emails != batch.total_emails:
        raise IncompleteError(f"batch {batch.id}: {emails} of its emails are in its file")


class _ByLine:
    """Results in the order of their lines, read in pages as they are needed."""

    def __init__(self, pages: Iterator[list[RowResult]]) -> None:
        self._pages = pages
        self._page: list[RowResult] = []

    def until(self, line: int) -> list[RowResult]:
        """Take the next results, up to this line. Raises IncompleteError."""
        taken: list[RowResult] = []
        while not self._page or self._page[-1].line <= line:
            taken += self._page
            self._page = next(self._pages, [_END])
        end = bisect_right(self._page, line, key=itemgetter(0))
        taken += self._page[:end]
        del self._page[:end]
        return taken


def _read_ahead(pages: Iterator[list[RowResult]]) -> Iterator[list[RowResult]]:
    """Yield the pages; each is read while the one before it is used."""
    with ThreadPoolExecutor(1) as executor:
        following = executor.submit(next, pages, None)
        while (page := following.result()) is not None:
            following = executor.submit(next, pages, None)
            yield page


def _marked(batch: Batch) -> Iterator[list[RowResult]]:
    """Yield the emails with a reason and the pending ones, by line. Raises IncompleteError."""
    for first in range(1, batch.total_emails + 1, MARKED_PAGE):
        rows = _read(
            batch,
            "SELECT row_number, status, reason, NULL FROM email"
            " WHERE batch_id = %s AND id BETWEEN %s AND %s"
            " AND (reason IS NOT NULL OR status = 'pending') ORDER BY id",
            first,
            first + MARKED_PAGE - 1,
        )
        yield [*map(RowResult._make, rows)]


def _skipped(batch: Batch) -> Iterator[list[RowResult]]:
    """Yield the rows without an email of their own, by line. Raises IncompleteError."""
    after = 0
    while rows := _read(
        batch,
        "SELECT row_number, kind, NULL, first_row FROM skipped_row"
        " WHERE batch_id = %s AND row_number > %s ORDER BY row_number LIMIT %s",
        after,
        PAGE,
    ):
        yield [*map(RowResult._make, rows)]
        after = rows[-1][0]


def _pages(batch: Batch) -> Iterator[list[Found]]:
    """Yield all emails of the batch in pages. Raises IncompleteError if one is missing."""
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
    """Return rows of the batch. Raises IncompleteError if the batch is being deleted."""
    with session():
        rows = list(pool.execute_sql(sql, (batch.id, *parameters)).fetchall())
        # Looked up afterwards: a batch is marked as deleted before its first row is removed.
        if not snapshots.present([batch.id]):
            raise IncompleteError(f"batch {batch.id} has been deleted")
    return rows

"""Yields the results of a batch: its file with RESULT_COLUMNS added, or JSON lines.

The kept file is read again in blocks. The results of its rows are read from the database in pages,
each in a session of its own. Both are in the order of the file's lines.
"""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_right, insort
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from operator import itemgetter
from typing import Any

import models
from batches import kept_files, snapshots
from batches.as_json import email_json
from batches.queries import Found
from batches.result_rows import ResultWriter, RowResult, taken_apart
from models import Batch
from postgres.database import pool, session
from processors import reasons
from tabular import reader, workbook_writer
from tabular.formats import RESULT_COLUMNS, Format
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


class TooLargeError(Exception):
    """A sheet of a workbook can't have so many rows or columns."""


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
    writer = ResultWriter(_format(batch), defuses=True)
    with closing(_text(batch, writer, only)) as pieces:
        yield BOM_UTF8 + next(pieces, b"")  # tells Excel that the file is UTF-8
        yield from pieces


def xlsx_pieces(batch: Batch, only: str | None) -> Iterator[bytes]:
    """Yield a workbook with the rows of csv_pieces().

    Raises TooLargeError as well if they don't fit into a sheet.
    """
    found = _format(batch)
    writer = ResultWriter(found, defuses=False)
    rows = batch.total_rows + batch.further_addresses + 1
    if rows > workbook_writer.MAX_ROWS or writer.width > workbook_writer.MAX_COLUMNS:
        raise TooLargeError(f"batch {batch.id}: {rows} rows of {writer.width} columns")
    verdicts = {writer.width - len(RESULT_COLUMNS) + 1: {name: name for name in reasons.VERDICTS}}
    header = 0 if found.header is None or only else found.header_index
    with closing(_text(batch, writer, only)) as pieces:
        lines = chain.from_iterable(io.StringIO(each.decode(), newline="") for each in pieces)
        table = csv.reader(lines, delimiter=found.delimiter or ",")
        yield from workbook_writer.pieces(table, header, verdicts)


def _format(batch: Batch) -> Format:
    if batch.format is None:
        raise FileNotKeptError(f"batch {batch.id} was uploaded before files were kept")
    return Format.from_json(batch.format)


def _text(batch: Batch, writer: ResultWriter, only: str | None) -> Generator[bytes, None, None]:
    found = _format(batch)
    with (
        closing(kept_files.open_kept(batch.id)) as file,
        closing(reader.blocks(file, found)) as blocks,
    ):
        yield from _rows(blocks, found, batch, writer, ONLY[only] if only else None)


def _rows(
    blocks: Iterable[Block],
    found: Format,
    batch: Batch,
    writer: ResultWriter,
    verdict: str | None,
) -> Iterator[bytes]:
    """Yield the header and the rows, or only the rows with the verdict.

    Most rows are emails that were processed without a reason; only the results of the others are
    read from the database.
    """
    marked, skipped = _ByLine(_read_ahead(_marked(batch))), _ByLine(_skipped(batch))
    emails = 0
    # Rows above the header, or above the data, counted from the block's first row.
    above, first = found.header_index, True
    for rows in blocks:
        header = -1 if found.header is None else above
        block = taken_apart(rows, found, max(above, header + 1))
        last = block.numbers[-1]
        others = _skipped_rows(block, skipped.until(last), header)
        reasons_here = marked.until(last)
        places = _places([each.id - 1 - emails for each in reasons_here], others)
        there = [block.numbers[place] for place in places if place < len(block)]
        if there != [each.line for each in reasons_here]:
            raise IncompleteError(f"batch {batch.id}: rows of its file are not where they were")
        emails += len(block) - len(others)
        above -= len(rows)
        others = sorted([*others, *zip(places, reasons_here, strict=True)], key=itemgetter(0))
        # Only after the first results are read: an error before the first piece becomes a response.
        if found.header is None and first:
            yield writer.header()
        first = False
        yield from writer.pieces(block, others, verdict)
    rest = marked.until(models.MAX_LINE) + skipped.until(models.MAX_LINE)
    if rest or emails != batch.total_emails:
        raise IncompleteError(f"batch {batch.id}: {emails} of its emails are in its file")


def _skipped_rows(
    block: Block, skipped: list[RowResult], header: int
) -> list[tuple[int, RowResult | None]]:
    """Return the positions of the rows that are no emails, with their results; the header's too."""
    positions = block.positions([(each.line, each.part) for each in skipped])
    if positions is None:
        raise IncompleteError("rows of the file are not where they were")
    found: list[tuple[int, RowResult | None]] = [*zip(positions, skipped, strict=True)]
    if 0 <= header < len(block):
        insort(found, (header, None), key=itemgetter(0))
    return found


def _places(ranks: list[int], others: list[tuple[int, RowResult | None]]) -> list[int]:
    """Return the positions of emails, given the number of emails before each in the block.

    Both are in order; `others` has the positions of the rows that are no emails.
    """
    places, before = [], 0
    for rank in ranks:
        while before < len(others) and others[before][0] <= rank + before:
            before += 1
        places.append(rank + before)
    return places


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
            "SELECT row_number, status, reason, NULL, 0, id FROM email"
            " WHERE batch_id = %s AND id BETWEEN %s AND %s"
            " AND (reason IS NOT NULL OR status = 'pending') ORDER BY id",
            first,
            first + MARKED_PAGE - 1,
        )
        yield [*map(RowResult._make, rows)]


def _skipped(batch: Batch) -> Iterator[list[RowResult]]:
    """Yield the rows without an email of their own, by line. Raises IncompleteError."""
    after = (0, 0)
    while rows := _read(
        batch,
        "SELECT row_number, kind, NULL, first_row, part, 0 FROM skipped_row"
        " WHERE batch_id = %s AND (row_number, part) > (%s, %s)"
        " ORDER BY row_number, part LIMIT %s",
        *after,
        PAGE,
    ):
        yield [*map(RowResult._make, rows)]
        after = rows[-1][0], rows[-1][4]


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

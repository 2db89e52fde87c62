"""Yields the results of a batch: its file with RESULT_COLUMNS and answers added, or JSON lines.

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
from contextlib import closing
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import models
from batches import kept_files, snapshots
from batches.as_json import email_json, skipped_json
from batches.filters import Filter
from batches.queries import Found
from batches.result_rows import Others, ResultWriter, RowResult, RowWriter, taken_apart
from models import Batch
from postgres.database import pool, session
from processors import reasons
from runtime.ahead import ahead
from tabular import reader
from tabular.block import Block
from tabular.formats import Format
from tabular.workbooks import writer as workbook_writer

# The most emails or skipped rows in a page, and the bytes of addresses and answers at which a page
# of emails ends, however few there are.
PAGE, PAGE_BYTES = 4_000, 1 << 20
# Emails among which one statement looks for those that _marked() yields.
MARKED_PAGE = 25_000
# The same for a batch with answers, of which an email may have 50 kB.
ANSWERED_PAGE = 500
# Comes after the last page.
_END = RowResult(1 << 62, "")


class FileNotKeptError(Exception):
    """The batch was uploaded before files were kept."""


class TooLargeError(Exception):
    """The results have more rows or columns than a sheet of a workbook may have."""


class IncompleteError(Exception):
    """Rows of the batch are missing, because it is being deleted."""


def jsonl_pieces(batch: Batch, wanted: Filter) -> Iterator[bytes]:
    """Yield a line of JSON for each wanted email, by id, or for each wanted row without one.

    Raises IncompleteError.
    """
    pages = _skipped_json(batch, wanted) if wanted.kind else _emails_json(batch, wanted)
    for page in pages:
        lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in page]
        yield "".join(lines).encode()


def csv_pieces(batch: Batch, wanted: Filter) -> Iterator[bytes]:
    """Yield the header and the wanted rows of the file, with RESULT_COLUMNS and answers added.

    Raises FileNotKeptError and IncompleteError.
    """
    writer = ResultWriter(_format(batch), batch.answers, defuses=True)
    with closing(_text(batch, writer, wanted)) as pieces:
        yield BOM_UTF8 + next(pieces, b"")  # tells Excel that the file is UTF-8
        yield from pieces


def xlsx_pieces(batch: Batch, wanted: Filter) -> Iterator[bytes]:
    """Yield a workbook with the rows of csv_pieces().

    Raises what csv_pieces() raises, and TooLargeError if the file's rows don't fit into a sheet.
    """
    found = _format(batch)
    writer = ResultWriter(found, batch.answers, defuses=False)
    rows = batch.total_rows + batch.further_addresses + 1
    if rows > workbook_writer.MAX_ROWS or writer.width > workbook_writer.MAX_COLUMNS:
        raise TooLargeError(f"batch {batch.id}: {rows} rows of {writer.width} columns")
    verdicts = {writer.verdict_column: {name: name for name in reasons.VERDICTS}}
    header = 0 if found.header is None else wanted_above_header(batch, wanted)
    with closing(_text(batch, writer, wanted)) as pieces:
        lines = chain.from_iterable(io.StringIO(each.decode(), newline="") for each in pieces)
        table = csv.reader(lines, delimiter=found.separator)
        yield from workbook_writer.pieces(table, header, verdicts)


def plain_pieces(batch: Batch, wanted: Filter) -> Generator[bytes, None, None]:
    """Yield the header and the wanted rows of the file, without result columns.

    Raises what csv_pieces() raises.
    """
    with closing(_text(batch, RowWriter(_format(batch), defuses=False), wanted)) as pieces:
        yield from pieces


def wanted_above_header(batch: Batch, wanted: Filter) -> int:
    """Return the number of wanted rows above the header, or above the data without a header.

    Raises what csv_pieces() raises.
    """
    # They are the rows without an email that come first.
    above = islice(chain.from_iterable(_skipped(batch)), _format(batch).header_index)
    return sum(result.status in wanted.kinds for result in above)


def _format(batch: Batch) -> Format:
    if batch.format is None:
        raise FileNotKeptError(f"batch {batch.id} was uploaded before files were kept")
    return Format.from_json(batch.format)


def _text(batch: Batch, writer: ResultWriter, wanted: Filter) -> Generator[bytes, None, None]:
    """Yield the wanted rows of the kept file as `writer` writes them.

    Raises FileNotKeptError, FileNotFoundError and IncompleteError.
    """
    found = _format(batch)
    with (
        closing(kept_files.open_kept(batch.id)) as file,
        closing(reader.blocks(file, found)) as blocks,
        closing(ahead(_marked(batch, wanted), 1)) as pages,
    ):
        yield from _rows(blocks, pages, found, batch, writer, wanted)


def _rows(
    blocks: Iterable[Block],
    pages: Iterator[list[RowResult]],
    found: Format,
    batch: Batch,
    writer: ResultWriter,
    wanted: Filter,
) -> Iterator[bytes]:
    """Yield the header and the wanted rows; `pages` are those of _marked().

    Most rows are plain: emails that were processed without a reason or an answer. If these are
    wanted, only the results of the others are read from the database.
    """
    marked, skipped = _ByLine(pages), _ByLine(_skipped(batch))
    emails = 0
    # Rows above the header, or above the data, counted from the block's first row.
    above, first = found.header_index, True
    for rows in blocks:
        header = -1 if found.header is None else above
        block = taken_apart(rows, found, max(above, header + 1))
        last = block.numbers[-1]
        others = _skipped_rows(block, skipped.until(last), header)
        marked_here = marked.until(last)
        places = _places([each.id - 1 - emails for each in marked_here], others)
        there = [block.numbers[place] for place in places if place < len(block)]
        if there != [each.line for each in marked_here]:
            raise IncompleteError(f"batch {batch.id}: rows of its file are not where they were")
        emails += len(block) - len(others)
        above -= len(rows)
        others = sorted([*others, *zip(places, marked_here, strict=True)], key=itemgetter(0))
        # Only after the first results are read: an error before the first piece becomes a response.
        if found.header is None and first:
            yield writer.header()
        first = False
        if wanted.name:
            block, others = _only(block, others, wanted)
        yield from writer.pieces(block, others)
    rest = marked.until(models.MAX_LINE) + skipped.until(models.MAX_LINE)
    if rest or emails != batch.total_emails:
        raise IncompleteError(f"batch {batch.id}: {emails} of its emails are in its file")


def _only(block: Block, others: Others, wanted: Filter) -> tuple[Block, Others]:
    """Return the header, the wanted rows among `others`, and all plain emails if they are wanted.

    others: the positions of the rows that are no plain emails, with their results, as in the block;
        those of plain emails may be among them.
    """
    kept = [
        (position, result)
        for position, result in others
        if result is None or wanted.takes(result.status, result.reason)
    ]
    positions = [position for position, _ in kept]
    if wanted.takes_plain:
        dropped = {position for position, _ in others}.difference(positions)
        positions = [position for position in range(len(block)) if position not in dropped]
    places = {position: n for n, position in enumerate(positions)}
    return block.picked(positions), [
        (places[position], result)
        for position, result in kept
        if result is None or not result.is_plain
    ]


def _skipped_rows(block: Block, skipped: list[RowResult], header: int) -> Others:
    """Return the positions of the rows that are no emails, with their results; the header's too."""
    positions = block.positions([(each.line, each.part) for each in skipped])
    if positions is None:
        raise IncompleteError("rows of the file are not where they were")
    found: list[tuple[int, RowResult | None]] = [*zip(positions, skipped, strict=True)]
    if 0 <= header < len(block):
        insort(found, (header, None), key=itemgetter(0))
    return found


def _places(ranks: list[int], others: Others) -> list[int]:
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


def _marked(batch: Batch, wanted: Filter) -> Iterator[list[RowResult]]:
    """Yield the wanted emails by line; or, if plain ones are wanted, all emails that are not plain.

    Raises IncompleteError.
    """
    if wanted.kind:
        return
    condition, _, parameters = wanted.conditions()
    # As text, which takes less memory than a mapping.
    answers, size = ("answers::text", ANSWERED_PAGE) if batch.answers else ("NULL", MARKED_PAGE)
    if wanted.takes_plain:
        condition = f"(reason IS NOT NULL OR status = 'pending' OR {answers} IS NOT NULL)"
    for first in range(1, batch.total_emails + 1, size):
        rows = _read(
            batch,
            f"SELECT row_number, status, reason, NULL, 0, id, {answers} FROM email"
            " WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s"
            f" AND {condition} ORDER BY id",
            **parameters,
            first=first,
            last=first + size - 1,
        )
        yield [*map(RowResult._make, rows)]


def _skipped(batch: Batch) -> Iterator[list[RowResult]]:
    """Yield the rows without an email of their own, by line. Raises IncompleteError."""
    after = (0, 0)
    while rows := _read(
        batch,
        "SELECT row_number, kind, NULL, first_row, part, 0, NULL FROM skipped_row"
        " WHERE batch_id = %(batch_id)s AND (row_number, part) > %(after)s"
        " ORDER BY row_number, part LIMIT %(most)s",
        after=after,
        most=PAGE,
    ):
        yield [*map(RowResult._make, rows)]
        after = rows[-1][0], rows[-1][4]


def _skipped_json(batch: Batch, wanted: Filter) -> Iterator[list[dict[str, Any]]]:
    """Yield the wanted rows without an email, in pages. Raises IncompleteError."""
    after = (0, 0)
    while True:
        with session():
            rows = kept_files.skipped(batch.id, wanted.kinds, after, PAGE)
            _refuse_deleted(batch)
        if not rows:
            return
        yield [*map(skipped_json, rows)]
        after = rows[-1].row_number, rows[-1].part


def _emails_json(batch: Batch, wanted: Filter) -> Iterator[list[dict[str, Any]]]:
    """Yield the wanted emails, in pages. Raises IncompleteError if an email is missing."""
    condition, _, parameters = wanted.conditions()
    last = 0
    while last < batch.total_emails:
        rows = _read(
            batch,
            f"SELECT {condition}, id, email, row_number, status, reason, answers FROM ("
            "  SELECT *, sum(size) OVER (ORDER BY id) - size AS before FROM ("
            "    SELECT *, octet_length(email) + coalesce(octet_length(answers::text), 0) AS size"
            "    FROM email WHERE batch_id = %(batch_id)s AND id BETWEEN %(first)s AND %(last)s"
            "  ) AS sized"
            ") AS page WHERE before < %(bytes)s ORDER BY id",
            **parameters,
            first=last + 1,
            last=last + PAGE,
            bytes=PAGE_BYTES,
        )
        if not rows:
            raise IncompleteError(f"batch {batch.id}: it has no email {last + 1}")
        yield [email_json(Found(*row), batch.answers) for is_wanted, *row in rows if is_wanted]
        last = rows[-1][1]


def _read(batch: Batch, sql: str, **parameters: object) -> list[Any]:
    """Return rows of the batch. Raises IncompleteError if the batch is being deleted."""
    with session():
        rows = list(pool.execute_sql(sql, {**parameters, "batch_id": batch.id}).fetchall())
        _refuse_deleted(batch)
    return rows


def _refuse_deleted(batch: Batch) -> None:
    # Looked up afterwards: a batch is marked as deleted before its first row is removed.
    if not snapshots.present([batch.id]):
        raise IncompleteError(f"batch {batch.id} has been deleted")

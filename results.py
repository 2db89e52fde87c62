"""What is downloaded of a batch: the uploaded file with what came of each row, or JSON lines.

Both are streamed: the file is read again piece by piece as it was kept, and beside it the emails
and the rows that are none, page by page, each page in a session of its own. All three are in the
order of the file's lines.
"""

from __future__ import annotations

import csv
import heapq
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import quote

import files
import models
import tables
from database import pool, session
from formats import FORMULA_STARTS, RESULT_COLUMNS, Format, undefuse
from models import Batch
from problems import Problem
from processors import reasons, risks, syntax
from queries import Found
from wire import email_json

# What can be asked for alone, and the verdict that it has.
ONLY = {"failed": "invalid", "ok": "ok", "risky": "risky", "unknown": "unknown"}
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
# Emails that are read at once; rows that make one piece of a download.
PAGE = 10_000
# Emails among which those with a reason are read at once.
MARKED_PAGE = 50_000
ROWS = 2_000
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*")
# Finds the beginning of a cell that may be a formula, in a text whose delimiter is put in for %s.
_FORMULA = r'[%s"\n][=+\-@\t\r]'
# By this Excel knows that it is UTF-8.
_BOM = "\ufeff"


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
    file_format = Format.from_json(batch.format)
    delimiter = file_format.delimiter or ","
    formula = re.compile(_FORMULA % re.escape(delimiter))
    beginning = _BOM
    with (
        closing(files.open_kept(batch.id)) as file,
        closing(tables.rows(file, file_format)) as rows,
    ):
        answered = _answered(rows, file_format, batch, ONLY[only] if only else None)
        while block := list(islice(answered, ROWS)):
            text = _written(block, delimiter)
            if formula.search(f"\n{text}"):
                text = _written([[*map(_defused, row)] for row in block], delimiter)
            yield (beginning + text).encode()
            beginning = ""


def _written(rows: list[list[str]], delimiter: str) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _defused(cell: str) -> str:
    """The cell, with an apostrophe before it if a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(cell) else cell


# The rows of the file.


def _answered(
    rows: Iterable[tuple[int, list[str]]], file_format: Format, batch: Batch, verdict: str | None
) -> Iterator[list[str]]:
    """The header, and each row with what came of it; or only rows with the verdict.

    A row is an email that was processed without a reason, unless something else is known of it;
    of few rows, normally, something is, and only these are read from the database.
    """
    width = file_format.columns
    column, ours = file_format.column, file_format.is_results
    if ours:  # results that were uploaded again: the old answers make room
        width -= len(RESULT_COLUMNS)
    header = -1 if file_format.header is None else file_format.header_index
    if header < 0:
        yield _header(file_format, width)
    others = heapq.merge(_marked(batch), _skipped(batch))
    known = next(others, _END)
    emails = 0
    # Looked up once, because what follows is done for each of millions of rows.
    ok, normalized = _answer("processed", "", 0), syntax.normalized
    for index, (line, cells) in enumerate(rows):
        if index == header:
            yield _header(file_format, width)
            continue
        answer, reason = ok, ""
        if line == known[0]:
            _, status, reason, first_row = known
            answer = _answer(status, reason, first_row)
            known = next(others, _END)
        if answer[0] in _EMAIL_STATUSES:
            emails += 1
        if verdict is not None and answer[1] != verdict:
            continue
        address = cells[column].strip() if len(cells) > column else ""
        if ours:
            address, cells = undefuse(address), cells[:width]
        if len(cells) < width:
            cells += [""] * (width - len(cells))
        cells += answer
        if answer is ok:
            cells += "", normalized(address)
        else:
            cells += _forms(address, answer[0], reason)
        yield cells
    if known is not _END or emails != batch.total_emails:
        raise IncompleteError(f"batch {batch.id}: {emails} of its emails are in its file")


def _header(file_format: Format, width: int) -> list[str]:
    if file_format.header is not None:
        names = list(file_format.header[:width])
        return [*names, *[""] * (width - len(names)), *RESULT_COLUMNS]
    return [
        *("email" if n == file_format.column else f"column {n + 1}" for n in range(width)),
        *RESULT_COLUMNS,
    ]


def _answer(status: str, reason: str, first_row: int) -> tuple[str, str, str, str]:
    """Status, verdict, reason and explanation of a row."""
    if status == "duplicate":
        return status, "", "", f"This address is on line {first_row} already."
    return _unlike_any_other(status, reason)


@lru_cache(maxsize=1024)
def _unlike_any_other(status: str, reason: str) -> tuple[str, str, str, str]:
    if status == "blank":
        return "", "", "", ""
    if status == "without_address":
        return status, "", "", "This row has no address."
    verdict = reasons.verdict(status, reason or None) or ""
    return status, verdict, reason, reasons.explanation(reason)


def _forms(address: str, status: str, reason: str) -> tuple[str, str]:
    """Suggestion and normal form of a row's address."""
    if status not in _EMAIL_STATUSES or reason in syntax.MALFORMED:
        return "", ""
    suggestion = risks.suggestion(address, reason) if reason else ""
    return suggestion, syntax.normalized(address)


# What is known of a line: status, reason, and the line that a duplicate repeats; empty or 0 if
# there is none.
_Known = tuple[int, str, str, int]
_EMAIL_STATUSES = frozenset(("pending", "processed", "failed"))
_END: _Known = (0, "", "", 0)


def _marked(batch: Batch) -> Iterator[_Known]:
    """The emails with a reason, and those still pending, by line. Raises IncompleteError."""
    for first in range(1, batch.total_emails + 1, MARKED_PAGE):
        yield from _read(
            batch,
            "SELECT row_number, status, coalesce(reason, ''), 0 FROM email"
            " WHERE batch_id = %s AND id BETWEEN %s AND %s"
            " AND (reason IS NOT NULL OR status = 'pending') ORDER BY id",
            first,
            first + MARKED_PAGE - 1,
        )


def _skipped(batch: Batch) -> Iterator[_Known]:
    """The rows that became no emails, by line. Raises IncompleteError."""
    after = 0
    while page := _read(
        batch,
        "SELECT row_number, kind, '', coalesce(first_row, 0) FROM skipped_row"
        " WHERE batch_id = %s AND row_number > %s ORDER BY row_number LIMIT %s",
        after,
        PAGE,
    ):
        yield from page
        after = page[-1][0]


# The database, a page at a time.


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

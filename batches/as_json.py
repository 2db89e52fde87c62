"""Batches and emails as JSON, for the API and the results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from batches.accounting import Rows
from batches.queries import Found
from models import Action, Batch, SkippedRow, iso, pause_of
from processors import providers, reasons, risks, syntax
from runtime import phrases
from tabular.formats import CELLS, DELIMITERS, Format, cut_row

# The kinds of files other than workbooks, in words.
_KINDS = {"csv": "CSV", "list": "list of addresses", "html": "HTML table", "vcard": "vCard"}


def json_text(document: object) -> bytes:
    """Return JSON in UTF-8. Letters beyond ASCII stay: escaped, they would take up to 12 bytes."""
    return json.dumps(document, ensure_ascii=False).encode()


def rows_json(batch: Batch) -> dict[str, int]:
    """Return the counts of a batch's rows, as counts_json() does."""
    return counts_json(
        Rows(
            emails=batch.total_emails,
            duplicates=batch.duplicate_rows,
            blank=batch.blank_rows,
            without_address=batch.rows_without_address,
            further=batch.further_addresses,
            others=batch.rows_with_others,
        )
    )


def counts_json(rows: Rows) -> dict[str, int]:
    """Return the counts of a file's rows.

    total + furtherAddresses = emails + duplicates + blank + withoutAddress, where a further address
    is one that is not the first of its row.
    """
    return {
        "total": rows.total,
        "emails": rows.emails,
        "duplicates": rows.duplicates,
        "blank": rows.blank,
        "withoutAddress": rows.without_address,
        "furtherAddresses": rows.further,
        "withOtherAddresses": rows.others,
    }


def action_json(action: Action, verb: str = "checked") -> dict[str, Any]:
    """Return an action on a batch; `by` is null where nobody signs in.

    verb: the word for what is done to the batch's emails.
    """
    return {
        "action": action.kind,
        "by": action.user_name,
        "at": iso(action.at),
        "which": action.which,
        "emails": action.emails,
        "why": action.why,
        "text": phrases.done(
            action.kind, action.user_name, action.which, action.emails, action.why, verb
        ),
    }


def batch_json(batch: Batch) -> dict[str, Any]:
    """Return a batch as the API shows it. Times are ISO 8601 in UTC, or null."""
    return {
        "id": batch.id,
        "filename": batch.filename,
        "uploadedBy": batch.uploaded_by,
        "totalEmails": batch.total_emails,
        "processedCount": batch.processed_count,
        "failedCount": batch.failed_count,
        "waiting": batch.waiting,
        "nextAt": iso(batch.next_at),
        "paused": pause_of(batch),
        "perMinute": batch.per_minute,
        "processor": batch.processor,
        "options": batch.options,
        "columns": columns_json(batch),
        "answers": batch.answers,
        "status": batch.status,
        "revision": batch.revision,
        "error": batch.error,
        "reasons": batch.reasons,
        "verdicts": reasons.verdicts(batch.processed_count, batch.failed_count, batch.reasons),
        "rows": rows_json(batch),
        "format": batch_format_json(batch),
        "createdAt": iso(batch.created_at),
        "startedAt": iso(batch.started_at),
        "completedAt": iso(batch.completed_at),
    }


def columns_json(batch: Batch) -> list[str]:
    """Return the first CELLS columns whose cells a processor gets.

    What follows has no header in `format` either.
    """
    first: list[str] = batch.columns[:CELLS]
    return first


def reason_details_json(
    counts: Mapping[str, int], statuses: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return verdict, explanation and count of each reason, the most frequent first.

    counts: the number of emails by reason.
    statuses: by reason of a team's own processor, the status of its emails. A reason that is
        missing there has the verdict None, and so has the sum of rare reasons.
    """
    return [
        {
            "reason": reason,
            "verdict": _verdict_of(reason, statuses.get(reason)),
            "explanation": reasons.explanation(reason),
            "count": count,
        }
        for reason, count in sorted(counts.items(), key=lambda item: -item[1])
    ]


def _verdict_of(reason: str, status: str | None) -> str | None:
    if reason in reasons.CATALOGUE:
        return reasons.CATALOGUE[reason].verdict or None
    return None if status is None else reasons.verdict(status, reason)


def typo_json(domain: str, count: int) -> dict[str, Any]:
    """Return a domain of likely typos, the number of its emails, and the domain to suggest."""
    meant = risks.suggestion(f"someone@{domain}", "likely_typo").rpartition("@")[2]
    return {"domain": domain, "count": count, "suggestion": meant}


def format_json(found: Format) -> dict[str, Any]:
    """Return a format as the API shows it, with columns numbered from 1."""
    header = found.header
    return {
        "kind": found.kind,
        "encoding": found.encoding,
        "delimiter": found.delimiter,
        "header": None if header is None else cut_row(header),
        "column": found.column + 1,
        "sheet": found.sheet,
        "text": _described(found),
    }


def _described(found: Format) -> str:
    """Return a format in words: `CSV, cp1252, semicolon; addresses in column 2, “Email”`."""
    kind = _KINDS.get(found.kind) or f"{found.kind.upper()} workbook"
    delimiter = next((n for n, character in DELIMITERS.items() if character == found.delimiter), "")
    sheet = f"sheet “{found.sheet}”" if found.sheet else ""
    encoding = (found.encoding or "").removesuffix("-sig")
    text = ", ".join(filter(None, (kind, encoding, delimiter, sheet)))
    if found.kind == "list":
        return text
    name = (*(found.header or ()), *[""] * found.columns)[found.column]
    named = f", “{phrases.shorten(name, 60)}”" if name else ""
    return f"{text}; addresses in column {found.column + 1}{named}"


def batch_format_json(batch: Batch) -> dict[str, Any] | None:
    """Return the format of a batch's file; None for a batch older than the column `format`."""
    return batch.format and format_json(Format.from_json(batch.format))


def skipped_json(row: SkippedRow) -> dict[str, Any]:
    """Return a row that became no email."""
    return {
        "line": row.row_number,
        "kind": row.kind,
        "firstLine": row.first_row,
        "content": row.content,
    }


def email_json(found: Found, answers: Sequence[str] = ()) -> dict[str, Any]:
    """Return an email and its outcome; verdict and reason are null while it is pending.

    answers: names of answers, in the order in which those of the email come.
    """
    _, normalized, domain = syntax.parsed(found.email, found.reason)
    return {
        "id": found.id,
        "line": found.row_number,
        "email": found.email,
        "status": found.status,
        "verdict": reasons.verdict(found.status, found.reason),
        "reason": found.reason,
        "explanation": reasons.explanation(found.reason, found.email),
        "suggestion": risks.suggestion(found.email, found.reason),
        "normalized": normalized or "",
        "freeProvider": providers.is_free(domain),
        "answers": found.answers and _in_order(found.answers, answers),
    }


def _in_order(answers: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the answers in the order of these names, and behind them those with other names."""
    return {name: answers[name] for name in names if name in answers} | answers

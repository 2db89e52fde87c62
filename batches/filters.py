"""Filters of a batch's rows, which its page, its lists and its results have in common."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from batches.kept_files import KINDS
from models import Batch
from processors import reasons
from processors.syntax import MAX_CHARACTERS

# The word for all KINDS of rows that became no emails.
SKIPPED = "skipped"
# The words that name a filter of one field, by the field. The code of a reason names a filter, too.
WORDS = {
    "verdict": reasons.VERDICTS,
    "status": reasons.STATUSES,
    "kind": (SKIPPED, *KINDS),
}

# Whether one text contains another, ignoring case. ILIKE starts a comparison at each character: ten
# times as slow in a long text that repeats the beginning of the search term.
CONTAINS = "strpos(lower({}), lower({})) > 0"
# The part of an address that is searched. To search all of a very long one would take long; and so
# would left() of each, which counts characters.
EMAIL = (
    f"CASE WHEN octet_length(email) <= {MAX_CHARACTERS} THEN email"
    f" ELSE left(email, {MAX_CHARACTERS}) END"
)
# Whether an address contains a text. If the text is ASCII, lower() needs no language, and takes a
# third of the time; nor may the text be in lower case by the database's language then, because in
# Turkish, "i" is not the small letter of "I". Any other text can only be in an address that isn't
# ASCII either.
_CONTAINS_ASCII = CONTAINS.format(f'({EMAIL}) COLLATE "C"', '%(containing)s COLLATE "C"')
_CONTAINS_OTHER = (
    f"octet_length(email) > char_length(email) AND {CONTAINS.format(EMAIL, '%(containing)s')}"
)
# For each value of a field: a condition on an email, and one on the chunks that may have such an
# email. There is no index on an email's outcome, but a chunk has counts by reason. The reasons of a
# team's own processor are in no catalogue, and may stand for failed or for risky emails.
_NOT_FAILED = [code for code, reason in reasons.CATALOGUE.items() if reason.verdict != "invalid"]
_NOT_RISKY = [code for code, reason in reasons.CATALOGUE.items() if reason.verdict != "risky"]
ANY = "true"
_STATUS = {
    "pending": ("status = 'pending'", "done <= last_id - first_id"),
    # A chunk that is being retried may have processed emails although its `done` is 0.
    "processed": ("status = 'processed'", ANY),
    "failed": ("status = 'failed'", "reasons - %(not_failed)s::text[] <> '{}'"),
}
_VERDICT = {
    "ok": ("status = 'processed' AND reason IS NULL", ANY),
    "risky": (
        "status = 'processed' AND reason <> ALL (%(unknown)s)",
        "reasons - %(not_risky)s::text[] <> '{}'",
    ),
    "unknown": ("reason = ANY (%(unknown)s)", "reasons ?| %(unknown)s"),
    "invalid": _STATUS["failed"],
}


def _counts(batch: Batch) -> dict[str, int]:
    """Return how many rows of the batch each of WORDS names."""
    processed, failed = batch.processed_count, batch.failed_count
    skipped = {
        "duplicate": batch.duplicate_rows,
        "without_address": batch.rows_without_address,
        "blank": batch.blank_rows,
    }
    return {
        **reasons.verdicts(processed, failed, batch.reasons),
        "pending": batch.total_emails - processed,
        "processed": processed - failed,
        "failed": failed,
        **skipped,
        SKIPPED: sum(skipped.values()),
    }


@dataclass(frozen=True)
class Filter:
    """What rows match. A field that is None or empty allows any value.

    status: the status of an email.
    verdict: the verdict on an email.
    reason: the code of an email's reason.
    containing: a part of an email's address; case is ignored, but a letter of ASCII matches no
        other. Only the first MAX_CHARACTERS of an address are searched.
    kind: the kind of a row that became no email, one of KINDS, or SKIPPED. With a kind, the other
        fields don't count. Without one, only emails match, unless no field is set.
    """

    status: str | None = None
    verdict: str | None = None
    reason: str | None = None
    containing: str = ""
    kind: str | None = None

    @classmethod
    def named(cls, word: str, own: Container[str]) -> Filter | None:
        """Return the filter that a word names, one of WORDS or a reason; None if it names none.

        own: reasons that may be named beside those of the catalogue.
        """
        for field, words in WORDS.items():
            if word in words:
                return cls(**{field: word})
        return cls(reason=word) if word in reasons.CATALOGUE or word in own else None

    @property
    def name(self) -> str:
        """The filter as a part of a file's name; empty if it allows all rows."""
        parts = (self.status, self.verdict, self.reason, self.containing)
        return self.kind or ".".join(filter(None, parts))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of rows without an email that match."""
        if self.kind in KINDS:
            return (self.kind,)
        return KINDS if self.kind == SKIPPED or not self.name else ()

    @property
    def takes_plain(self) -> bool:
        """Whether every email that was processed without a reason matches."""
        return not self.containing and self.takes("processed", None)

    def takes(self, status: str, reason: str | None) -> bool:
        """Return whether a row may match that has this reason, and this status or kind."""
        if status in KINDS:
            return status in self.kinds
        return (
            not self.kind
            and self.status in (None, status)
            and self.verdict in (None, reasons.verdict(status, reason))
            and self.reason in (None, reason)
        )

    def matches_of(self, batch: Batch) -> int | None:
        """Return how many rows of the batch match, or None if its counts don't tell.

        Without any field set, only emails are counted.
        """
        counts = _counts(batch)
        if self.kind:
            return counts[self.kind]
        named = [word for word in (self.status, self.verdict, self.reason) if word]
        if self.containing or len(named) > 1:
            return None
        if self.reason:
            # A reason may be among the rest, which is counted together.
            rest = reasons.OTHER_REASONS in batch.reasons
            return None if rest else batch.reasons.get(self.reason, 0)
        return counts[named[0]] if named else batch.total_emails

    def conditions(self) -> tuple[str, str, dict[str, Any]]:
        """Return conditions in SQL on emails and on chunks that may have them, and parameters.

        The first is ANY if all emails match, and the second if every chunk may have them.
        """
        conditions = [_STATUS[self.status]] if self.status else []
        conditions += [_VERDICT[self.verdict]] if self.verdict else []
        conditions += [("reason = %(reason)s", "reasons ? %(reason)s")] if self.reason else []
        if self.containing:
            is_ascii = self.containing.isascii()
            conditions.append((_CONTAINS_ASCII if is_ascii else _CONTAINS_OTHER, ANY))
        emails = " AND ".join(email for email, _ in conditions) or ANY
        chunks = " AND ".join(chunk for _, chunk in conditions if chunk != ANY) or ANY
        return (
            emails,
            chunks,
            {
                "reason": self.reason,
                "containing": self.containing,
                "unknown": list(reasons.UNKNOWN),
                "not_failed": _NOT_FAILED,
                "not_risky": _NOT_RISKY,
            },
        )

"""A turn of a processor whose work must not be repeated; see batches/journal.py."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2

from batches.claims import Claim
from batches.journal import Journal
from postgres.database import UNREACHABLE
from processors import INTERRUPTED, Findings, Processor, handing
from processors.handing import Note
from runtime import logs

logger = logs.Logger("worker")
_unwritten = logs.RateLimited(logger)


def process(
    processor: Processor,
    claim: Claim,
    *,
    deadline: float,
    on_error: Callable[[Exception], None],
) -> Findings | None:
    """Process the emails of a claim until the `deadline` (monotonic), and return the findings.

    If an earlier turn left emails handed out, the findings are theirs, and nothing is handed out.
    The findings are empty if the batch was paused, cancelled or deleted. If the journal can't be
    written any more, they are those so far.
    Returns None if a later turn has the chunk, or if the batch is gone.
    """
    journal = Journal(claim)
    findings = journal.take_over()
    if findings is None:
        logger.warning("another turn has the chunk", batch=claim.batch_id, chunk=claim.first_id)
        return None
    if findings.count:
        interrupted = sum(number for each, number in findings.outcomes if each == INTERRUPTED)
        logger.warning(
            "outcomes taken over from a lost turn",
            batch=claim.batch_id,
            chunk=claim.first_id,
            emails=findings.count,
            interrupted=interrupted,
        )
        return findings
    # Only now, because all that was handed out is taken over, whatever a rate allows.
    given = claim.given(processor)[: claim.limit]
    return handing.process(processor, given, deadline, _note_of(journal, claim), on_error)


def _note_of(journal: Journal, claim: Claim) -> Note:
    """Return a Note by the journal; if it can't be written, the turn ends with what it has."""

    def note(count: int, findings: Findings) -> bool:
        try:
            return journal.note(count, findings)
        except (psycopg2.Error, *UNREACHABLE) as error:
            if not findings.count:
                raise
            # The claim's own connection may still commit the outcomes, and then none is lost.
            _unwritten.warning(
                "turn ends early, because the journal can't be written",
                batch=claim.batch_id,
                chunk=claim.first_id,
                error=error,
            )
            return False

    return note

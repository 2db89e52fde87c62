"""A turn of a processor whose work must not be repeated; see batches/journal.py."""

from __future__ import annotations

from collections.abc import Callable

from batches.claims import Claim
from batches.journal import Journal
from postgres import database
from processors import INTERRUPTED, Findings, Processor, handing
from runtime import logs

logger = logs.Logger("worker")


def process(
    processor: Processor,
    claim: Claim,
    *,
    deadline: float,
    limit: float,
    on_error: Callable[[Exception], None],
) -> Findings | None:
    """Process the emails of a claim until the `deadline` (monotonic), and return the findings.

    If an earlier turn left emails handed out, the findings are theirs, and nothing is handed out.
    The findings are empty if the batch was paused, cancelled or deleted.
    `limit` is the seconds that an entry in the journal may take.
    Returns None if a later turn has the chunk, or if the batch is gone.
    """
    with database.beside(limit) as run:
        journal = Journal(claim, run)
        findings = journal.take_over()
        if findings is None:
            logger.warning("another turn has the chunk", batch=claim.batch_id, chunk=claim.first_id)
            return None
        if findings.count:
            interrupted = findings.outcomes.count(INTERRUPTED)
            logger.warning(
                "outcomes taken over from a lost turn",
                batch=claim.batch_id,
                chunk=claim.first_id,
                emails=findings.count,
                interrupted=interrupted,
            )
            return findings
        given = claim.given(processor)
        return handing.process(processor, given, deadline, journal.note, on_error)

"""Store, begin and process batches without app or worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from operator import itemgetter
from typing import Any

from batches import claims, commits, intake
from batches.claims import Claim
from batches.intake import PLAIN, Upload
from harness.books import snapshot
from harness.files import csv_of
from models import Batch, Snapshot
from postgres import database
from postgres.database import pool, session
from processors import Findings, Outcome, later
from runtime.entries import ProcessorEntry
from tabular.formats import Overrides

# The entry of the only processor where config.ini names no others.
CHECK = ProcessorEntry("check", "check", "Check addresses", takes_unnamed=True)
# An id and the values of its Outcome.
Marks = Sequence[
    tuple[int, str, str | None] | tuple[int, str, str | None, Mapping[str, str] | None]
]
ADDRESSES = [f"user{number}@x.de" for number in range(1, 11)]
# Outcomes of the ten addresses above: (id, status, reason) of those with a reason.
MARKED: Marks = [
    (1, "failed", "too_long"),
    (2, "failed", "no_at_sign"),
    (4, "processed", "dns_timeout"),
    (8, "processed", "role_account"),
    (9, "failed", "too_long"),
]


def store(*addresses: str, chunk_size: int = 5000, upload: Upload = PLAIN) -> Snapshot:
    """Store a batch of these addresses as an upload would."""
    batch = intake.store(
        BytesIO(csv_of(*addresses)),
        "list.csv",
        chunk_size=chunk_size,
        max_rows=10**6,
        overrides=Overrides(header=False, split=False),
        upload=upload,
    )
    return Snapshot.of(batch)


def store_file(content: bytes, **options: Any) -> Batch:
    """Store a file, with options of intake.store()."""
    options = {"chunk_size": 5000, "max_rows": 1000, **options}
    return intake.store(BytesIO(content), "list.csv", **options)


def claim_next(batch_id: int, processor: ProcessorEntry = CHECK, **options: Any) -> Claim | None:
    """Begin a turn and claim its chunk, in a transaction that is left open."""
    return claims.claim_chunk(batch_id, processor, (), 60, **options)


def lose_turn(batch_id: int) -> Claim | None:
    """Begin a turn that is never committed, and return its claim."""
    with database.own_transactions():
        return claim_next(batch_id)


def findings(claim: Claim, marked: Marks = ()) -> Findings:
    """All emails of the claim as processed, with these Marks."""
    others = [(claim.ids.index(number), Outcome(*outcome)) for number, *outcome in marked]
    return Findings(len(claim.ids), sorted(others, key=itemgetter(0)))


def start(batch_id: int) -> Snapshot | None:
    """Make a pending batch `processing`, and return its snapshot then."""
    with session():
        claim = lose_turn(batch_id)
        # As if that turn had never begun.
        pool.execute_sql("UPDATE chunk SET attempts = 0 WHERE batch_id = %s", (batch_id,))
    return claim and claim.started


def take_turn(batch_id: int, marked: Marks = MARKED, processor: ProcessorEntry = CHECK) -> bool:
    """Process the batch's next chunk, with these Marks; False if there is none."""
    with session(), pool.atomic():
        claim = claim_next(batch_id, processor)
        if claim is None:
            return False
        mine = [mark for mark in marked if mark[0] in claim.ids]
        commits.commit_outcomes(claim, findings(claim, mine))
        return True


def take_turns(batch_id: int, marked: Marks = MARKED, processor: ProcessorEntry = CHECK) -> None:
    """Process the batch to its end, with these Marks."""
    while take_turn(batch_id, marked, processor):
        pass


def completed(marked: Marks = MARKED, chunk_size: int = 3) -> int:
    """Return the id of a completed batch of the ten addresses."""
    batch_id = store(*ADDRESSES, chunk_size=chunk_size).batch_id
    take_turns(batch_id, marked)
    assert snapshot(batch_id).status == "completed"
    return batch_id


def wait_for(*addresses: str) -> int:
    """Store a batch whose emails all wait for an hour, and return its id."""
    batch_id = store(*addresses).batch_id
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        assert claim is not None
        others = [(at, later("dns_timeout", 3600)) for at in range(len(addresses))]
        commits.commit_outcomes(claim, Findings(len(addresses), others))
    return batch_id

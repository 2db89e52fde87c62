"""Batches stored and begun without app or worker."""

from __future__ import annotations

from io import BytesIO

from batches import claims, intake
from batches.claims import Claim
from harness.files import csv_of
from models import Snapshot
from postgres import database
from postgres.database import pool, session
from tabular.formats import Overrides


def store(*addresses: str, chunk_size: int = 5000) -> Snapshot:
    """Store a batch of these addresses as an upload would."""
    batch = intake.store(
        BytesIO(csv_of(*addresses)),
        "list.csv",
        chunk_size=chunk_size,
        max_rows=10**6,
        overrides=Overrides(header=False),
    )
    return Snapshot.of(batch)


def claim_next(batch_id: int) -> Claim | None:
    """Begin a turn and claim its chunk, in a transaction that is left open."""
    return claims.claim_chunk(batch_id, (), 60)


def lose_turn(batch_id: int) -> Claim | None:
    """Begin a turn that is never committed; what it claimed."""
    with database.own_transactions():
        return claim_next(batch_id)


def start(batch_id: int) -> Snapshot | None:
    """Make a pending batch `processing`, and return its snapshot then."""
    with session():
        claim = lose_turn(batch_id)
        # As if that turn had never been.
        pool.execute_sql("UPDATE chunk SET attempts = 0 WHERE batch_id = %s", (batch_id,))
    return claim and claim.started

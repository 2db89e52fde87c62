"""Invariants between the tables, which hold at every moment, also while workers are at work.

Each is checked by one statement, which sees the tables at one instant. Invariants within one table
are CHECK constraints (postgres/migrations/).
"""

from __future__ import annotations

from batches.commits import MAX_ANSWER_NAMES
from postgres.database import pool

# Each sentence describes a violation, and its query finds the ids of the batches that have it. The
# rows of a deleted batch go piece by piece, so they are left out.
INVARIANTS = {
    "its counts are not those of its emails": """
        SELECT b.id FROM batch b CROSS JOIN LATERAL (
            SELECT count(*) AS emails, count(*) FILTER (WHERE status <> 'pending') AS ended,
                count(*) FILTER (WHERE status = 'failed') AS failed
            FROM email WHERE batch_id = b.id) e
        WHERE deleted_at IS NULL AND (b.total_emails, b.processed_count, b.failed_count)
            <> (e.emails, e.ended, e.failed)""",
    "it is completed without a time, or with emails pending": """
        SELECT id FROM batch WHERE (status = 'completed')
            <> (completed_at IS NOT NULL AND processed_count = total_emails)""",
    "its waiting emails are not those of its chunks": """
        SELECT b.id FROM batch b CROSS JOIN LATERAL (
            SELECT count(email.id) AS emails, min(due_at) AS due FROM chunk JOIN email
                ON email.batch_id = chunk.batch_id AND email.id BETWEEN first_id AND last_id
                AND status = 'pending'
            WHERE chunk.batch_id = b.id AND due_at IS NOT NULL AND completed_at IS NULL) w
        WHERE deleted_at IS NULL AND (waiting, next_at) IS DISTINCT FROM (emails, due)""",
    "its rows do not add up": """
        SELECT id FROM batch WHERE total_rows + further_addresses
            <> total_emails + duplicate_rows + rows_without_address + blank_rows""",
    "its chunks leave gaps or overlap": """
        SELECT batch_id FROM (
            SELECT batch_id, first_id, coalesce(lag(last_id) OVER chunks, 0) + 1 AS due
            FROM chunk JOIN batch ON batch.id = batch_id AND deleted_at IS NULL
            WINDOW chunks AS (PARTITION BY batch_id ORDER BY first_id)) c
        WHERE first_id <> due
        UNION SELECT b.id FROM batch b WHERE deleted_at IS NULL AND total_emails
            IS DISTINCT FROM (SELECT max(last_id) FROM chunk WHERE batch_id = b.id)""",
    "a chunk's reasons are not those of its emails, or emails pending count as done": """
        SELECT c.batch_id FROM chunk c JOIN batch b ON b.id = batch_id AND deleted_at IS NULL
        CROSS JOIN LATERAL (
            SELECT coalesce(jsonb_object_agg(reason, n) FILTER (WHERE reason IS NOT NULL), '{}')
                AS reasons, coalesce(bool_or(pending), false) AS pending
            FROM (SELECT reason, count(*) AS n,
                    bool_or(status = 'pending' AND id < c.first_id + c.done) AS pending
                FROM email
                WHERE batch_id = c.batch_id AND id BETWEEN c.first_id AND c.last_id
                GROUP BY reason) each) e
        WHERE e.pending OR c.reasons <> e.reasons""",
    "an email pending has answers, or its names of answers are not those of its emails": f"""
        SELECT DISTINCT b.id FROM batch b JOIN email e ON batch_id = b.id
        WHERE deleted_at IS NULL AND e.answers IS NOT NULL
            AND (e.status = 'pending' OR jsonb_array_length(b.answers) < {MAX_ANSWER_NAMES}
                AND e.answers - ARRAY(SELECT jsonb_array_elements_text(b.answers)) <> '{{}}')""",
    "it has chunks but is no batch": "SELECT batch_id FROM chunk EXCEPT SELECT id FROM batch",
}


def violations() -> list[str]:
    """Return a sentence for each violation.

    Reads every email, which takes about a second for a million.
    """
    return [
        f"Batch {batch_id}: {sentence}."
        for sentence, sql in INVARIANTS.items()
        for (batch_id,) in pool.execute_sql(sql).fetchall()
    ]

"""The journal of what is handed out to a processor whose work must not be repeated.

Before an email is handed out, "handed out up to here" and all outcomes so far are on the disk: a
commit by another connection than that of the turn, whose own transaction holds the claim. Of a turn
that dies, the next one on the chunk keeps the outcomes in the journal; what was handed out without
one becomes `interrupted`, and is never handed out again by itself.

No order of crashes hands an email out twice, because of these three rules.

- A turn takes over the chunk's row of the journal before it looks at the emails. Each entry is an
  update of that row, on the condition that the turn still has it. PostgreSQL makes such updates one
  after the other. So once a turn has read in the row what was handed out, no earlier turn hands out
  anything more of the chunk, not even that of a worker which was stopped and goes on.
- Turns have numbers from a sequence, drawn when they claim. A turn takes the row over only from one
  with a smaller number. So a worker that was stopped between its claim and this moment, and goes on
  when others have long been at work, gets nothing. A crash of PostgreSQL may set the sequence back
  to what was on the disk; so a turn also doesn't take over a row with a later round than its own.
- The outcomes of what was handed out in a round are committed in the same transaction that moves
  the chunk past these emails, or ends the round. Until then, every turn that takes the row over
  finds it there. An entry survives a crash of PostgreSQL, because its commit waits for the disk;
  and the log keeps the order, so that everything which was committed before it is there, too.
"""

from __future__ import annotations

import json

from batches.claims import Claim
from postgres.database import Run
from processors import INTERRUPTED, PROCESSED, Findings
from processors.outcomes import from_values

_TAKE_OVER = """
INSERT INTO journal (batch_id, chunk, turn)
SELECT batch_id, first_id, %(turn)s FROM chunk
WHERE batch_id = %(batch_id)s AND first_id = %(chunk)s
ON CONFLICT (batch_id, chunk) DO UPDATE SET turn = excluded.turn
  WHERE journal.turn < excluded.turn AND journal.round <= %(round)s
RETURNING round, handed, done, others
"""
_NOTE = """
UPDATE journal SET round = %(round)s, handed = %(handed)s, done = %(done)s, others = %(others)s
WHERE batch_id = %(batch_id)s AND chunk = %(chunk)s AND turn = %(turn)s
  AND ((round, handed) >= (%(round)s, %(handed)s) OR EXISTS (
    SELECT FROM batch WHERE id = %(batch_id)s AND status = 'processing'
    AND paused_at IS NULL AND deleted_at IS NULL))
RETURNING handed
"""


class Journal:
    """The journal of one turn."""

    def __init__(self, claim: Claim, run: Run) -> None:
        """`run` is from database.beside(): another connection than that of the claim."""
        self._claim = claim
        self._run = run
        self._key = {"batch_id": claim.batch_id, "chunk": claim.first_id, "turn": claim.turn}

    def take_over(self) -> Findings | None:
        """Take over what earlier turns left: the outcomes of all that they handed out, if any.

        The caller must commit them before anything is handed out. Returns None if a later turn has
        the chunk, or if its batch is gone, so that this turn must end.
        """
        row = self._run(_TAKE_OVER, {**self._key, "round": self._claim.round})
        if row is None:
            return None
        number, handed, done, others = row
        if number != self._claim.round:
            return Findings()
        outcomes = {each: from_values(outcome) for each, *outcome in others}
        findings = Findings()
        for email_id in self._claim.ids:
            if email_id > handed:
                break
            is_done = email_id <= done
            findings.add(outcomes.get(email_id, PROCESSED) if is_done else INTERRUPTED)
        return findings

    def note(self, count: int, findings: Findings) -> bool:
        """Note that the first `count` emails are handed out, and the outcomes so far.

        Returns whether they may be: not if a later turn has the chunk, or if they are more than
        before and the batch was paused, cancelled or deleted.
        """
        ids = self._claim.ids
        entry = {
            "round": self._claim.round,
            "handed": ids[count - 1] if count else ids[0] - 1,
            "done": ids[findings.count - 1] if findings.count else ids[0] - 1,
            "others": json.dumps([[ids[at], *outcome] for at, outcome in findings.others]),
        }
        return self._run(_NOTE, {**self._key, **entry}) is not None

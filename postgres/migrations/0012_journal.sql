-- What a turn hands out to a processor whose work must not be repeated, written before it is handed
-- out: see batches/journal.py. Each chunk has one row, of the turn that took it over last. `turn` is
-- a number from the sequence. In the given `round`, the emails up to the id `handed` were handed
-- out, and those up to `done` have outcomes: that of an email in `others`, or else `processed`.
CREATE TABLE journal (
  batch_id bigint NOT NULL,
  chunk integer NOT NULL,
  turn bigint NOT NULL,
  round integer NOT NULL DEFAULT 0,
  handed integer NOT NULL DEFAULT 0,
  done integer NOT NULL DEFAULT 0,
  others jsonb NOT NULL DEFAULT '[]',
  PRIMARY KEY (batch_id, chunk),
  CHECK (done <= handed)
) WITH (fillfactor = 50);
-- Owned, so that a backup has it.
CREATE SEQUENCE turn OWNED BY journal.turn;

-- Why a processor paused a batch, as a sentence.
ALTER TABLE action ADD COLUMN why text;

-- The rounds of a chunk's emails before they were requeued, so that a key never comes twice.
ALTER TABLE chunk ADD COLUMN rounds_before integer NOT NULL DEFAULT 0;

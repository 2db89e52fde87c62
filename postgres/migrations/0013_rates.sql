-- The most emails of a batch that begin to be processed in a minute; null for as many as can be.
ALTER TABLE batch ADD COLUMN per_minute integer CHECK (per_minute > 0);
-- Up to when the emails that a rate allows have been given out to turns: of a batch, whose processor
-- is '' here, or of a processor with all its batches, whose batch is 0 here.
CREATE TABLE pace (
  batch_id bigint NOT NULL,
  processor text NOT NULL,
  paced_at timestamptz,
  PRIMARY KEY (batch_id, processor)
);
-- For an action `rate`, `which` is the new one: a number of emails a minute, or none.
ALTER TABLE action DROP CONSTRAINT action_kind_check;
ALTER TABLE action ADD CHECK
  (kind IN ('retried', 'cancelled', 'paused', 'resumed', 'finished', 'rate', 'deleted', 'expired'));
ALTER TABLE action DROP CONSTRAINT action_check;
ALTER TABLE action ADD CHECK ((kind IN ('retried', 'rate')) = (which IS NOT NULL));
ALTER TABLE action DROP CONSTRAINT action_check1;
ALTER TABLE action ADD CHECK ((kind = 'retried') = (emails IS NOT NULL));

-- Whether the batch was cancelled, and emails that were handed out may still have to be counted.
ALTER TABLE batch ADD COLUMN unsettled boolean NOT NULL DEFAULT false;
CREATE INDEX batch_unsettled ON batch (id) WHERE unsettled;

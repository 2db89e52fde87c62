-- A batch that is paused: no turn begins on it. `paused_by` is null where nobody signs in.
-- `pause_reason` is a sentence, null if a person paused it. At `resume_at`, if that is set, a worker
-- resumes it. A batch that ends while it is paused keeps these values, which mean nothing then.
ALTER TABLE batch ADD COLUMN paused_at timestamptz;
ALTER TABLE batch ADD COLUMN paused_by text;
ALTER TABLE batch ADD COLUMN pause_reason text;
ALTER TABLE batch ADD COLUMN resume_at timestamptz;
ALTER TABLE batch ADD CHECK (paused_at IS NOT NULL OR (paused_by, pause_reason, resume_at) IS NULL);
ALTER TABLE action DROP CONSTRAINT action_kind_check;
ALTER TABLE action ADD CHECK
  (kind IN ('retried', 'cancelled', 'paused', 'resumed', 'finished', 'deleted', 'expired'));

-- The reason for which a pending email waits to be processed again; it means nothing afterwards.
ALTER TABLE email ADD COLUMN later text;

-- Who uploaded a batch, and who did what to it later; null where nobody signs in. That a batch was
-- deleted is kept when the batch is gone.
ALTER TABLE batch ADD COLUMN uploaded_by text;

CREATE TABLE action (
  batch_id bigint NOT NULL,
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  kind text NOT NULL CHECK (kind IN ('retried', 'cancelled', 'deleted', 'expired')),
  user_name text,
  which text,
  emails integer,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (batch_id, id),
  CHECK ((kind = 'retried') = (which IS NOT NULL)),
  CHECK ((which IS NULL) = (emails IS NULL))
);

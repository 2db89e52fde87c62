-- A batch sums up its outcomes by reason, which only its chunks did before; and it may be deleted.
ALTER TABLE batch
  ADD COLUMN reasons jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN deleted_at timestamptz;

UPDATE batch SET reasons = sums.reasons FROM (
  SELECT batch_id, jsonb_object_agg(key, number) AS reasons FROM (
    SELECT batch_id, key, sum(value::int) AS number FROM chunk, jsonb_each_text(reasons)
    GROUP BY batch_id, key
  ) AS each GROUP BY batch_id
) AS sums
WHERE batch.id = sums.batch_id;

-- Finds the batches whose rows are still to be removed, normally none.
CREATE INDEX batch_deleted ON batch (deleted_at) WHERE deleted_at IS NOT NULL;

-- Version 4 came to a database of version 2 or 3 without this column, as long as nothing numbered them:
-- the code of then looked for all that it added to chunk at once, and found two columns of three.
ALTER TABLE chunk ADD COLUMN IF NOT EXISTS begun_at timestamptz;

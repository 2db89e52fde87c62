-- Finds the few unfinished batches among many. Counting a batch's emails leaves its status alone, so
-- that this costs a write as a batch starts and ends, no more.
CREATE INDEX batch_unfinished ON batch (id, status) WHERE status IN ('pending', 'processing');

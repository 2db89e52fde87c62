-- An email is stored once, updated once, when it gets its outcome, and then stays as it is until its
-- batch is deleted. So the first vacuum after the update freezes it, and no later one reads its page
-- again: otherwise each page would be read and written once more before transaction ids wrap
-- around. A vacuum comes soon after a batch, while its pages are in memory, not when a fifth of the
-- table has changed. Emails that are only stored need none, because their update is still to come.
ALTER TABLE email SET (
  autovacuum_freeze_min_age = 0,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 100000,
  autovacuum_vacuum_insert_threshold = -1
);
-- These are never updated. The content of a file is in a table of its own, that of large values.
ALTER TABLE skipped_row SET (autovacuum_freeze_min_age = 0);
ALTER TABLE file_piece SET (autovacuum_freeze_min_age = 0, toast.autovacuum_freeze_min_age = 0);

-- When the newest turn on a chunk began, so that nobody else begins one at the same moment.
ALTER TABLE chunk ADD COLUMN begun_at timestamptz;

-- The uploaded file, how it is read, and its rows that became no email. A batch from before has none.
ALTER TABLE batch ADD COLUMN format jsonb;

CREATE TABLE file_piece (
  batch_id bigint NOT NULL,
  number integer NOT NULL,
  content bytea NOT NULL,
  PRIMARY KEY (batch_id, number)
);
-- It is compressed already.
ALTER TABLE file_piece ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE skipped_row (
  batch_id bigint NOT NULL,
  row_number integer NOT NULL,
  kind text NOT NULL CHECK (kind IN ('duplicate', 'without_address', 'blank')),
  first_row integer,
  content text,
  PRIMARY KEY (batch_id, row_number),
  CHECK ((kind = 'duplicate') = (first_row IS NOT NULL)),
  CHECK ((kind = 'blank') = (content IS NULL))
);

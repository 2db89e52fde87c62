-- A row may have several addresses. Each of them is an email or a duplicate; `part` is the place in
-- its row of a duplicate, and `further_addresses` counts those that are not the first of their row.
-- `rows_with_others` counts the rows with addresses in other columns, which become no emails.
ALTER TABLE batch ADD COLUMN further_addresses integer NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN rows_with_others integer NOT NULL DEFAULT 0;
ALTER TABLE batch DROP CONSTRAINT batch_check5;
ALTER TABLE batch ADD CHECK (total_rows + further_addresses
  = total_emails + duplicate_rows + rows_without_address + blank_rows);

ALTER TABLE skipped_row ADD COLUMN part integer NOT NULL DEFAULT 0;
ALTER TABLE skipped_row DROP CONSTRAINT skipped_row_pkey;
ALTER TABLE skipped_row ADD PRIMARY KEY (batch_id, row_number, part);

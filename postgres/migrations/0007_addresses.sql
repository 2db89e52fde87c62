-- A chunk's addresses in one text until the first turn on it is stored. They are short-lived, and not
-- worth compressing.
ALTER TABLE chunk ADD COLUMN addresses text;
ALTER TABLE chunk ALTER COLUMN addresses SET STORAGE EXTERNAL;

-- With 60, every third update had to go to another page, and an update of all took twice the time.
-- Pages that are full already stay as they are.
ALTER TABLE email SET (fillfactor = 45);

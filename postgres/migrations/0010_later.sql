-- Emails that wait to be processed again. A chunk's `due_at` is set while its pending emails wait:
-- the time before which no turn begins on it. `rounds` counts how often they were put off, first at
-- `put_off_at`. A batch's `waiting` counts the emails that wait, and `next_at` is the first due_at.
ALTER TABLE chunk ADD COLUMN due_at timestamptz;
ALTER TABLE chunk ADD COLUMN rounds integer NOT NULL DEFAULT 0;
ALTER TABLE chunk ADD COLUMN put_off_at timestamptz;
ALTER TABLE batch ADD COLUMN waiting integer NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN next_at timestamptz;
ALTER TABLE batch ADD CHECK (waiting >= 0 AND (waiting > 0) = (next_at IS NOT NULL));

-- The name of the processor that the batch is for; null, as in batches of before, for the default one.
ALTER TABLE batch ADD COLUMN processor text;
-- What was chosen for this batch of its processor's options.
ALTER TABLE batch ADD COLUMN options jsonb NOT NULL DEFAULT '{}';
-- The names of the columns whose cells the processor gets.
ALTER TABLE batch ADD COLUMN columns jsonb NOT NULL DEFAULT '[]';
-- The names of the answers that emails of the batch have.
ALTER TABLE batch ADD COLUMN answers jsonb NOT NULL DEFAULT '[]';
-- The cells of these columns, for each email of the chunk as it was uploaded; null if there are none,
-- and in a chunk that was cut off from another one, which keeps them.
-- Compressing them would make an upload that keeps cells slower.
ALTER TABLE chunk ADD COLUMN cells text;
ALTER TABLE chunk ALTER COLUMN cells SET STORAGE EXTERNAL;
-- What the processor answered for an email besides its outcome, by name.
ALTER TABLE email ADD COLUMN answers jsonb;

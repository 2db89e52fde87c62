-- The turns begun on a chunk, so that one whose turns keep dying is known.
ALTER TABLE chunk
  ADD COLUMN attempts integer NOT NULL DEFAULT 0,
  ADD COLUMN redone integer NOT NULL DEFAULT 0;

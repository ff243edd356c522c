-- The end of a running turn, asked for by whichever replica: of the turn with this fence alone.

ALTER TABLE bulkhead.sessions ADD COLUMN interrupted_fence bigint NOT NULL DEFAULT 0;

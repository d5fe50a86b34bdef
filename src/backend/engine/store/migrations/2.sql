-- Version 2: operations have a parent, an outcome, a moment of their last change and an idempotency
-- key. What an older hostler wrote has none of them but the moment, which follows from what it has.

ALTER TABLE operation ADD COLUMN parent  INTEGER;  -- uid of the operation that asked for it
ALTER TABLE operation ADD COLUMN outcome TEXT;     -- JSON: what it returned, {"message", "data"}
-- Milliseconds, like all moments; set by every change to the row.
ALTER TABLE operation ADD COLUMN updated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operation ADD COLUMN key     TEXT;     -- what a client asks with again, once answered
ALTER TABLE operation ADD COLUMN request TEXT;     -- JSON: what came with the key, secrets hashed

UPDATE operation SET updated = coalesce(finished, started, created);

-- Both are for the few operations that have one.
CREATE INDEX operation_parent ON operation (parent) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX operation_key ON operation (key) WHERE key IS NOT NULL;

-- hostler's state, version 1. One writer, any number of readers; WAL, synchronous=FULL.
-- Times are milliseconds since 1970-01-01T00:00:00Z. Documents are JSON.

-- Operations, for ever. `state`: 0 PENDING, 1 RUN, 2 DONE, 3 ERROR, 4 CANCEL.
CREATE TABLE operation (
  uid           INTEGER PRIMARY KEY,          -- rising, never used twice
  kind          TEXT    NOT NULL,             -- a name from the catalogue
  state         INTEGER NOT NULL,
  params        TEXT    NOT NULL,             -- JSON object; secrets hashed or sealed
  resource      TEXT,                         -- 'vm/3': what it acts on or makes
  resource_name TEXT,                         -- that one's name when the operation was accepted
  actor         TEXT    NOT NULL,             -- who asked
  priority      INTEGER NOT NULL,
  attempt       INTEGER NOT NULL,             -- how often it was relaunched
  cancelling    INTEGER NOT NULL,             -- 1 once somebody asked to cancel it, 2 past the pivot
  comment       TEXT,                         -- why it failed
  created       INTEGER NOT NULL,
  started       INTEGER,
  finished      INTEGER
) STRICT;

-- What start-up reads: the few that are not at their end, among a million that are. Not `IN (…)`,
-- for which SQLite makes a table in memory at every insert.
CREATE INDEX operation_open ON operation (state) WHERE state <> 2 AND state <> 4;

-- The journal: a step is recorded before the next one starts.
-- `state`: 0 running, 1 done, 2 failed, 3 undone, 4 undo failed.
CREATE TABLE step (
  uid      INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  number   INTEGER NOT NULL,                  -- its place in the operation, from 1
  name     TEXT    NOT NULL,
  state    INTEGER NOT NULL,
  result   TEXT,                              -- JSON, what the step returned
  error    TEXT,
  commands TEXT    NOT NULL,                  -- JSON array of commands, without secrets
  started  INTEGER NOT NULL,
  finished INTEGER,
  PRIMARY KEY (uid, attempt, number)
) STRICT, WITHOUT ROWID;

-- Virtual machines, disks, images, tasks, encodings: few, small, always read whole.
CREATE TABLE resource (
  kind TEXT    NOT NULL,                      -- 'vm', 'disk', 'image', 'task', 'encoding'
  id   INTEGER NOT NULL,
  doc  TEXT    NOT NULL,                      -- JSON, the whole resource
  PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- The highest number ever given out, so that none is used twice: 'vm', 'disk', …
CREATE TABLE counter (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What operators changed about the lanes. `state`: 0 open, 1 paused, 2 draining.
CREATE TABLE lane (
  name  TEXT PRIMARY KEY,
  width INTEGER NOT NULL,
  state INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

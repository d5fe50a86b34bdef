-- Version 3: which numbers no operation has. A request that could not be written leaves its number
-- behind when others were written after it.

CREATE TABLE gap (
  first INTEGER PRIMARY KEY,                  -- the first number that is missing
  last  INTEGER NOT NULL                      -- the last before the next operation
) STRICT;

INSERT INTO gap
SELECT before + 1, uid - 1
FROM (
  SELECT uid, lag(uid) OVER (ORDER BY uid) AS before FROM operation
  WHERE uid > coalesce((SELECT value FROM counter WHERE name = 'pruned'), 0)
)
WHERE uid > before + 1;

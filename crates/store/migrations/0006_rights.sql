-- Rights were one word, root; now they say what a key may do.
UPDATE access_key SET rights = 'admin' WHERE rights = 'root';
-- Each credentials file that a platform has had left its key behind. The last one counts, and control writes the one
-- of the present file at each start.
DELETE FROM access_key AS older WHERE EXISTS (
    SELECT 1 FROM access_key AS newer
    WHERE newer.name = older.name
      AND (newer.created_at > older.created_at OR (newer.created_at = older.created_at AND newer.id > older.id))
);
CREATE UNIQUE INDEX access_key_name ON access_key (name);

-- Lines of what happens between operations. A column's NOT NULL can only be dropped with its table.
CREATE TABLE line_between (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    service   TEXT NOT NULL,
    operation TEXT,
    at        BIGINT NOT NULL,
    line      TEXT NOT NULL CHECK (json_valid(line))
);
INSERT INTO line_between SELECT seq, service, operation, at, line FROM line;
DROP TABLE line;
ALTER TABLE line_between RENAME TO line;

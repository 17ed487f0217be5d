-- Operations that wait behind the open one of their service, what each operation is for, and the wish to end one early.
ALTER TABLE operation ADD COLUMN queued BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE operation ADD COLUMN automatic BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE operation ADD COLUMN fresh BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE operation ADD COLUMN asked TEXT;
ALTER TABLE operation ADD COLUMN cancelled TEXT;
-- One open operation per service; any number may wait.
DROP INDEX operation_open;
CREATE UNIQUE INDEX operation_open ON operation (service) WHERE ended_at IS NULL AND NOT queued;
-- The engine looks at all that are open, among the many that have ended.
CREATE INDEX operation_unended ON operation (seq) WHERE ended_at IS NULL AND NOT queued;
CREATE INDEX operation_queued ON operation (service, seq) WHERE queued;
-- The digest or commit that the source had when it was looked at last.
ALTER TABLE service ADD COLUMN source_seen TEXT;

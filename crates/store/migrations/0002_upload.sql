-- Uploads that are open. The bytes lie in a file of the content store, named after the id.
CREATE TABLE upload (
    id      TEXT PRIMARY KEY,
    kind    TEXT NOT NULL,
    size    BIGINT NOT NULL,
    -- Engine time of the last part.
    used_at BIGINT NOT NULL
);

-- Times: *_at are milliseconds since 1970 (display only); deadlines and fact_at are engine time.
-- JSON columns hold values whose members are never searched for.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE service (
    id             TEXT PRIMARY KEY,
    region         TEXT NOT NULL,
    name           TEXT NOT NULL,
    url_label      TEXT NOT NULL UNIQUE,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    deleted_at     BIGINT,
    state          TEXT NOT NULL,
    config         TEXT NOT NULL CHECK (json_valid(config)),
    tags           TEXT NOT NULL CHECK (json_valid(tags)),
    active         BIGINT,
    candidate      BIGINT,
    previous       BIGINT,
    previous_until BIGINT,
    last_failure   TEXT,
    route_version  BIGINT NOT NULL,
    routed_version BIGINT NOT NULL DEFAULT 0,
    purge_at       BIGINT
);
-- A name is free again as soon as its service is deleted.
CREATE UNIQUE INDEX service_name ON service (region, name) WHERE deleted_at IS NULL;
CREATE INDEX service_page ON service (region, created_at, id);

CREATE TABLE operation (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    service    TEXT NOT NULL REFERENCES service (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    status     TEXT NOT NULL,
    step       TEXT NOT NULL CHECK (json_valid(step)),
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at   BIGINT,
    updated_at BIGINT NOT NULL,
    fault      TEXT CHECK (fault IS NULL OR json_valid(fault))
);
-- One open operation per service.
CREATE UNIQUE INDEX operation_open ON operation (service) WHERE ended_at IS NULL;
CREATE INDEX operation_page ON operation (service, seq);

CREATE TABLE revision (
    service    TEXT NOT NULL REFERENCES service (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    config     TEXT NOT NULL CHECK (json_valid(config)),
    build      TEXT,
    image      TEXT,
    commit_id  TEXT,
    run        TEXT CHECK (run IS NULL OR json_valid(run)),
    PRIMARY KEY (service, number)
);

CREATE TABLE build (
    id        TEXT PRIMARY KEY,
    service   TEXT NOT NULL REFERENCES service (id) ON DELETE CASCADE,
    operation TEXT NOT NULL,
    wish      TEXT NOT NULL CHECK (json_valid(wish)),
    wanted    BOOLEAN NOT NULL,
    failures  BIGINT NOT NULL,
    fact      TEXT NOT NULL CHECK (json_valid(fact))
);
CREATE INDEX build_service ON build (service);

-- No reference to the service: a row that says gone outlives it, as the proof that its container may go.
CREATE TABLE slot (
    id           TEXT PRIMARY KEY,
    service      TEXT NOT NULL,
    revision     BIGINT NOT NULL,
    epoch        BIGINT NOT NULL,
    counter      BIGINT NOT NULL,
    wish         TEXT NOT NULL CHECK (json_valid(wish)),
    gone_at      BIGINT,
    fact         TEXT CHECK (fact IS NULL OR json_valid(fact)),
    fact_at      BIGINT NOT NULL,
    ever_healthy BOOLEAN NOT NULL,
    created_at   BIGINT NOT NULL,
    output_next  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX slot_service ON slot (service) WHERE gone_at IS NULL;

-- Proxies that were given a table and are not known to be dead.
CREATE TABLE proxy (
    pid        BIGINT NOT NULL,
    start_time BIGINT NOT NULL,
    boot       TEXT NOT NULL,
    PRIMARY KEY (pid, start_time, boot)
);

-- Lines on their way to the logs.
CREATE TABLE line (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    service   TEXT NOT NULL,
    operation TEXT NOT NULL,
    at        BIGINT NOT NULL,
    line      TEXT NOT NULL CHECK (json_valid(line))
);

CREATE TABLE access_key (
    id         TEXT PRIMARY KEY,
    secret     TEXT NOT NULL,
    name       TEXT NOT NULL,
    rights     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

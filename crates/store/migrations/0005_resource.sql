-- Regions in which something was asked for: each has built-in resources, and a default among the auto scaling
-- configurations.
CREATE TABLE region (
    name            TEXT PRIMARY KEY,
    default_scaling TEXT NOT NULL
);

-- Shared resources, a row for each revision.
CREATE TABLE resource (
    kind         TEXT NOT NULL,
    region       TEXT NOT NULL,
    id           TEXT NOT NULL,
    name         TEXT NOT NULL,
    revision     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    deleted_at   BIGINT,
    purge_at     BIGINT,
    tags         TEXT NOT NULL,
    body         TEXT NOT NULL,
    -- Of VPC ingress connections, which are searched for by both.
    service      TEXT,
    vpc_endpoint TEXT,
    PRIMARY KEY (kind, region, id)
);
CREATE UNIQUE INDEX resource_name ON resource (kind, region, name, revision) WHERE deleted_at IS NULL;
-- One for each service.
CREATE UNIQUE INDEX resource_service ON resource (service) WHERE deleted_at IS NULL AND service IS NOT NULL;

CREATE INDEX resource_purge ON resource (purge_at) WHERE purge_at IS NOT NULL;

-- What a connection signs in with. A table of its own: nothing that lists or shows connections reads it.
CREATE TABLE connection_secret (
    id             TEXT PRIMARY KEY,
    access_token   TEXT,
    ssh_key        TEXT,
    webhook_secret TEXT
);

-- Every service so far uses the built-in auto scaling configuration.
ALTER TABLE service ADD COLUMN scaling_id TEXT NOT NULL DEFAULT '00000000000000000000000000000001';
ALTER TABLE service ADD COLUMN connection_id TEXT;
CREATE INDEX service_scaling ON service (region, scaling_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX service_connection ON service (region, connection_id) WHERE deleted_at IS NULL AND connection_id IS NOT NULL;

CREATE TABLE custom_domain (
    service    TEXT NOT NULL REFERENCES service (id) ON DELETE CASCADE,
    domain     TEXT NOT NULL,
    www        BOOLEAN NOT NULL,
    token      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (service, domain)
);
-- A host name belongs to one service.
CREATE TABLE custom_domain_host (
    host    TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    domain  TEXT NOT NULL,
    FOREIGN KEY (service, domain) REFERENCES custom_domain (service, domain) ON DELETE CASCADE
);
CREATE INDEX custom_domain_host_domain ON custom_domain_host (service, domain);

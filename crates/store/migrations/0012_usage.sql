-- What instances used, added up by day; see usage.rs. Rows outlive their service: those of forgotten ones stand under
-- `deleted:` and the region.
CREATE TABLE usage (
    service TEXT NOT NULL,
    instance TEXT NOT NULL,
    day BIGINT NOT NULL,
    active_unit_ms BIGINT NOT NULL DEFAULT 0,
    provisioned_mib_ms BIGINT NOT NULL DEFAULT 0,
    asleep_mib_ms BIGINT NOT NULL DEFAULT 0,
    short_unit_ms BIGINT NOT NULL DEFAULT 0,
    build_ms BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (service, instance, day)
);
CREATE INDEX usage_day ON usage (day);
-- What is to be folded, among much that is.
CREATE INDEX usage_of_instances ON usage (day) WHERE instance <> '';
-- How a service stands to its cap.
ALTER TABLE service ADD COLUMN cap TEXT NOT NULL DEFAULT 'below';
-- What its instances were told last of what becomes of them while they are idle.
ALTER TABLE service ADD COLUMN idle TEXT NOT NULL DEFAULT '';

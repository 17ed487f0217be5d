-- Grows with every change to a service or its slots, so that whoever has read all services once reads on from there.
ALTER TABLE service ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;
CREATE INDEX service_changed ON service (changed);
-- The present slots, of which there are few, among all that are gone, and the gone ones by age.
CREATE INDEX slot_present ON slot (id) WHERE gone_at IS NULL;
CREATE INDEX slot_gone ON slot (gone_at, id) WHERE gone_at IS NOT NULL;
CREATE INDEX service_purge ON service (purge_at) WHERE purge_at IS NOT NULL;

-- Pages show no deleted services. With the same condition as the other indexes of a region this one is the best of
-- them for a page, also while a database has no statistics yet.
DROP INDEX service_page;
CREATE INDEX service_page ON service (region, created_at, id) WHERE deleted_at IS NULL;

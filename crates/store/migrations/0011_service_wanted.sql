-- So many instances a service's load needs, as the scaler saw it last; what its configuration allows may be fewer or more.
ALTER TABLE service ADD COLUMN wanted BIGINT NOT NULL DEFAULT 0;

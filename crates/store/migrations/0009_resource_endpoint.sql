-- VPC ingress connections of one VPC endpoint, in the order of their pages.
CREATE INDEX resource_endpoint ON resource (kind, region, vpc_endpoint, name, revision)
    WHERE deleted_at IS NULL AND vpc_endpoint IS NOT NULL;

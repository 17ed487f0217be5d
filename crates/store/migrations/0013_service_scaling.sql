-- By what a service's instances are scaled, where its configuration says something else, which then waits to be deployed.
ALTER TABLE service ADD COLUMN scaling TEXT;

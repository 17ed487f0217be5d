-- A deployment of the revision has succeeded. Until now rows of failed ones could not be told from others; they are
-- taken for good and leave with the next deployments.
ALTER TABLE revision ADD COLUMN served BOOLEAN NOT NULL DEFAULT TRUE;

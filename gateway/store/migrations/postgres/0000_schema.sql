-- Which migrations this database has. `grensloos migrate` runs this file once, and then those that are not in it, in one transaction.
-- All tables are in the schema grensloos, of the role that migrates; who runs gets what grants.sql says.
-- Text is compared byte by byte (COLLATE "C"), as SQLite does, so that pages and orders are the same on both.
CREATE TABLE schema_migrations (
    number            integer     NOT NULL PRIMARY KEY,
    name              text        NOT NULL,
    sha256            text        NOT NULL,
    min_binary_schema integer     NOT NULL, -- a program whose newest migration is older may not run on this schema
    applied_at        timestamptz NOT NULL DEFAULT now(),
    applied_by        text        NOT NULL DEFAULT session_user
);

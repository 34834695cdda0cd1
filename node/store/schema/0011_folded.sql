-- Which code made the tables that are folded from the log. Site-local.
CREATE TABLE IF NOT EXISTS folded (
    no INTEGER PRIMARY KEY CHECK (no = 1),
    version BLOB NOT NULL -- a digest over the fold's version and the SQL of these tables
) STRICT;

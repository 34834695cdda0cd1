-- Site-local: how far this site has looked through other sites' results for outputs to keep twice.
CREATE TABLE copied (
    site BLOB NOT NULL,
    generation INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (site, generation)
) STRICT, WITHOUT ROWID;

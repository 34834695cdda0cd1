-- What a site knows by the feeds of others. Derived, like all tables of 0002.

-- Proofs that a site signed two entries for one place; first has the smaller id.
CREATE TABLE fork (
    site BLOB NOT NULL,
    generation INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    first BLOB NOT NULL,
    second BLOB NOT NULL,
    PRIMARY KEY (site, generation, lane, seq, first, second)
) STRICT, WITHOUT ROWID;

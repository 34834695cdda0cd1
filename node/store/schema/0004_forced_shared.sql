-- Shards that an admin forced on. Derived, like all tables of 0002.

CREATE TABLE forced (
    shard INTEGER NOT NULL,
    term INTEGER NOT NULL, -- that the force began
    pos INTEGER NOT NULL,
    entry INTEGER NOT NULL, -- the control entry that holds the signed document,
    idx INTEGER NOT NULL, -- and which of its records
    site INTEGER NOT NULL, -- who leads from there,
    generation INTEGER NOT NULL, -- and in which generation of its feeds
    cut_site INTEGER NOT NULL, -- the leader before,
    cut_generation INTEGER NOT NULL,
    cut_seq INTEGER NOT NULL, -- and the last entry of its control feed that counts
    cut_entry BLOB NOT NULL,
    person BLOB NOT NULL, -- the admin's key
    hlc INTEGER NOT NULL, -- of the entry; for display only
    PRIMARY KEY (shard, term)
) STRICT, WITHOUT ROWID;

-- The log as received: feeds and their entries. Everything else is derived from these, or site-local.

CREATE TABLE feed (
    no INTEGER PRIMARY KEY,
    site BLOB NOT NULL CHECK (length(site) = 32),
    generation INTEGER NOT NULL,
    lane INTEGER NOT NULL CHECK (lane IN (0, 1)),
    -- The tip: the newest entry held. seq counts from 1.
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    hlc INTEGER NOT NULL,
    UNIQUE (site, generation, lane)
) STRICT;

CREATE TABLE entry (
    no INTEGER PRIMARY KEY, -- in the order of arrival, which is the order of folding
    feed INTEGER NOT NULL REFERENCES feed (no),
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    header BLOB NOT NULL,
    signature BLOB NOT NULL,
    body BLOB, -- NULL once pruned: the chain runs through headers only
    UNIQUE (feed, seq)
) STRICT;

-- Entries whose folding met an unexpected exception on this node; a rebuild tries them again.
CREATE TABLE quarantine (
    entry INTEGER PRIMARY KEY REFERENCES entry (no),
    why TEXT NOT NULL
) STRICT;

-- What only this site knows and nobody folds: its pilots and what is out at them.

CREATE TABLE pilot (
    no INTEGER PRIMARY KEY,
    tag TEXT NOT NULL,
    scheduler TEXT NOT NULL, -- which batch system it was submitted to
    job TEXT NOT NULL DEFAULT '', -- that system's name for it
    token BLOB NOT NULL, -- hash of the one-use token of its submission
    announcements INTEGER NOT NULL, -- how many announcements the token is still good for
    session BLOB UNIQUE, -- hash of the session token; NULL before it announced
    host TEXT NOT NULL DEFAULT '',
    pid INTEGER NOT NULL DEFAULT 0,
    isolation TEXT NOT NULL DEFAULT '',
    resources TEXT NOT NULL DEFAULT '{}', -- JSON, as announced
    -- The newest batch of results; part: how many of its records are stored, -1 for all.
    batch INTEGER NOT NULL DEFAULT 0,
    part INTEGER NOT NULL DEFAULT -1,
    submitted_ms INTEGER NOT NULL,
    announced_ms INTEGER,
    ended_ms INTEGER,
    why TEXT NOT NULL DEFAULT '' -- how it ended
) STRICT;
CREATE INDEX pilot_live ON pilot (no) WHERE ended_ms IS NULL;

-- Units that are out. Rows are written before a pilot hears of them, and go once all are reported.
CREATE TABLE lease (
    no INTEGER PRIMARY KEY,
    pilot INTEGER NOT NULL REFERENCES pilot (no),
    task INTEGER NOT NULL, -- local task number
    jobs BLOB NOT NULL -- flat half-open ranges, little-endian 64-bit integers
) STRICT;
CREATE INDEX lease_pilot ON lease (pilot);

-- How far this site has looked through other sites' results for outputs to keep twice.
CREATE TABLE copied (
    site BLOB NOT NULL,
    generation INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (site, generation)
) STRICT, WITHOUT ROWID;

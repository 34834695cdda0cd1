-- Workers that get no units, with the evidence. Site-local: nobody folds it.
CREATE TABLE host_ban (
    host TEXT PRIMARY KEY, -- as its pilots call it
    until_ms INTEGER NOT NULL, -- wall clock; a row whose time is over tells how long the next one is
    bans INTEGER NOT NULL, -- in a row
    why TEXT NOT NULL,
    names TEXT NOT NULL -- JSON: how batch systems call the host, [[system, name], ...]
) STRICT, WITHOUT ROWID;

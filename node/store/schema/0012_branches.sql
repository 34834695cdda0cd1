-- Forked feeds of which this site goes over to the other branch. Site-local.
CREATE TABLE branch (
    site BLOB NOT NULL,
    generation INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL, -- the first place at which the branches differ,
    id BLOB NOT NULL, -- and the entry there of the branch that is wanted
    taken INTEGER NOT NULL DEFAULT 0, -- 1: what was here of the old branch is gone
    PRIMARY KEY (site, generation, lane)
) STRICT, WITHOUT ROWID;

-- Records of this site's own that stood on a branch which it left: to be written again.
CREATE TABLE salvage (
    no INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;

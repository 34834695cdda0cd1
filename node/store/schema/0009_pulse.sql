-- What a leader writes before it says that it leads: its disk still takes what is written.
-- Site-local.

CREATE TABLE pulse (
    no INTEGER PRIMARY KEY CHECK (no = 1),
    count INTEGER NOT NULL
) STRICT;

-- Units that their owner gave back and that the log still calls its own: until the next grant of
-- them. A function of the order in which entries came here, so no part of any digest.
CREATE TABLE released (
    task INTEGER NOT NULL,
    lo INTEGER NOT NULL,
    hi INTEGER NOT NULL,
    site INTEGER NOT NULL, -- the owner; ranges of a task are disjoint
    PRIMARY KEY (task, lo)
) STRICT, WITHOUT ROWID;

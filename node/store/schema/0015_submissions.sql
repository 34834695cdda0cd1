-- What this site submitted to batch systems. A row is written before the batch system is told, so that
-- whatever it made of it can be found by the tag. Site-local: nobody folds it.
CREATE TABLE submission (
    no INTEGER PRIMARY KEY,
    tag TEXT NOT NULL UNIQUE, -- the jobs' name
    system TEXT NOT NULL, -- NAME of [site.NAME]
    shape TEXT NOT NULL, -- JSON: what each pilot asked for
    count INTEGER NOT NULL, -- pilots
    pilot INTEGER NOT NULL, -- the row that holds the token, good for `count` announcements
    submitted_ms INTEGER NOT NULL, -- when the intent was written
    doubtful INTEGER NOT NULL DEFAULT 1, -- 0: all of its jobs that there are stand in batch_job
    ended_ms INTEGER, -- with the last of its jobs
    words TEXT NOT NULL DEFAULT '' -- what the batch system complained of
) STRICT;
CREATE INDEX submission_live ON submission (no) WHERE ended_ms IS NULL;

CREATE TABLE batch_job (
    submission INTEGER NOT NULL REFERENCES submission (no),
    job TEXT NOT NULL, -- the batch system's name for it
    state TEXT NOT NULL, -- schedulers.base.JobState
    words TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    exit INTEGER,
    pilot INTEGER, -- that announced itself from it
    cancelled TEXT, -- why this site cancelled it
    over INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0, -- over, though nobody said that it ended
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (submission, job)
) STRICT, WITHOUT ROWID;

-- What is remembered of a batch system beyond its jobs, as JSON: breakers.
CREATE TABLE batch_system (
    name TEXT PRIMARY KEY,
    memory TEXT NOT NULL
) STRICT, WITHOUT ROWID;

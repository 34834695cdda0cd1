-- Folded state: a function of the log alone. `floe store rebuild` empties these and folds again.
-- A task's number is its dataset's number * 64 + its index. Units have rows only once something
-- happened to them; what people count is kept as counters.

CREATE TABLE site (
    no INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL DEFAULT '',
    version TEXT NOT NULL DEFAULT ''
) STRICT;

-- Shards whose founding is here. The log of one is a path through the control feeds of its leaders.
CREATE TABLE shard (
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    founder BLOB NOT NULL,
    council BLOB NOT NULL, -- site keys end to end
    -- The newest term that holds, and the control feed in which its leader writes.
    term INTEGER NOT NULL,
    leader BLOB NOT NULL,
    generation INTEGER NOT NULL,
    voters INTEGER NOT NULL, -- how many seats ack under it
    stopped INTEGER NOT NULL, -- two opens hold for one term: nobody acts
    -- The cursors. Ownership has passed the log records of this term in this control feed through
    -- this entry.
    at_term INTEGER NOT NULL,
    at_feed INTEGER NOT NULL, -- local number
    at_seq INTEGER NOT NULL,
    at_idx INTEGER NOT NULL DEFAULT 0, -- and so many records of the next one
    own_pos INTEGER NOT NULL DEFAULT 0, -- log records that the ownership cursor has passed
    results_pos INTEGER NOT NULL DEFAULT 0, -- the same of the results cursor; never ahead
    own_root BLOB NOT NULL,
    results_root BLOB NOT NULL,
    version INTEGER NOT NULL, -- of the fold that made the roots
    -- The results entry that the results cursor waits for; NULL for none.
    waits_site BLOB,
    waits_generation INTEGER,
    waits_seq INTEGER,
    stuck INTEGER NOT NULL DEFAULT 0, -- it waits for another log, or for what shows it settled
    behind INTEGER NOT NULL DEFAULT 0, -- more is here than the last step had time to fold
    anew INTEGER NOT NULL DEFAULT 0 -- it stood beyond a cut: folded again, and not there yet
) STRICT;
CREATE INDEX shard_waits ON shard (waits_site, waits_generation) WHERE waits_site IS NOT NULL;
CREATE INDEX shard_behind ON shard (no) WHERE behind = 1;
CREATE INDEX shard_stuck ON shard (no) WHERE stuck = 1;

-- Log records that wait for the results cursor, because a results entry is not here yet.
CREATE TABLE pending (
    shard INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    PRIMARY KEY (shard, pos)
) STRICT, WITHOUT ROWID;

-- How far a shard's log has accepted each results feed.
CREATE TABLE position (
    shard INTEGER NOT NULL,
    site INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (shard, site, generation)
) STRICT, WITHOUT ROWID;

-- Which log position accepted a results entry: the order of attempts.
CREATE TABLE accepted (
    entry INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    PRIMARY KEY (entry, shard)
) STRICT, WITHOUT ROWID;

CREATE INDEX accepted_pos ON accepted (shard, pos);

-- People as each site enrolled them.
CREATE TABLE person (
    site INTEGER NOT NULL,
    key BLOB NOT NULL,
    name TEXT NOT NULL,
    groups TEXT NOT NULL, -- JSON list
    roles TEXT NOT NULL, -- JSON list
    active INTEGER NOT NULL,
    PRIMARY KEY (site, key)
) STRICT, WITHOUT ROWID;

-- Local numbers of datasets, which stay when a shard is folded anew.
CREATE TABLE numbered (
    no INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    UNIQUE (shard, id)
) STRICT;

CREATE TABLE dataset (
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    shard INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    entry INTEGER NOT NULL, -- the control entry that holds the signed document,
    idx INTEGER NOT NULL, -- and which of its records
    name TEXT NOT NULL,
    person BLOB NOT NULL, -- the signer's key
    grp TEXT NOT NULL,
    priority INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    cells INTEGER NOT NULL,
    extend INTEGER NOT NULL, -- whether it may be
    hlc INTEGER NOT NULL, -- of the entry; for display and sorting only
    paused INTEGER NOT NULL DEFAULT 0,
    moved BLOB, -- id of the shard to which the ownership cursor saw it leave; NULL: it is here
    away INTEGER NOT NULL DEFAULT 0, -- for the results cursor: 1 it left, 2 it has not come yet
    source INTEGER, -- the shard from which it moved here
    quarantined TEXT -- why this node stopped folding it; NULL: it did not
) STRICT;
CREATE UNIQUE INDEX dataset_place ON dataset (id, shard);
CREATE INDEX dataset_shard ON dataset (shard);
CREATE INDEX dataset_name ON dataset (name);
CREATE INDEX dataset_person ON dataset (person, no);

CREATE TABLE task (
    no INTEGER PRIMARY KEY,
    dataset INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    name TEXT NOT NULL,
    jobs INTEGER NOT NULL, -- as far as the results cursor has come; the dataset's is never less
    parents TEXT NOT NULL, -- JSON list: indices of the tasks of this dataset that it waits for
    retry_max INTEGER NOT NULL,
    needs TEXT, -- JSON overrides by an edit; NULL: as submitted
    -- Units by state; waiting = jobs - all of these. A unit is in one state only.
    settled INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    blocked INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    ready INTEGER NOT NULL DEFAULT 0,
    early INTEGER NOT NULL DEFAULT 0, -- settled or failed before what they wait for was settled
    -- Attempts that did not settle their unit, by outcome
    duplicates INTEGER NOT NULL DEFAULT 0,
    payload INTEGER NOT NULL DEFAULT 0,
    resources INTEGER NOT NULL DEFAULT 0,
    infrastructure INTEGER NOT NULL DEFAULT 0,
    stopped INTEGER NOT NULL DEFAULT 0,
    -- Sums and peaks over settled units
    cpu_ms INTEGER NOT NULL DEFAULT 0,
    wall_ms INTEGER NOT NULL DEFAULT 0,
    gpu_ms INTEGER NOT NULL DEFAULT 0,
    memory_kib_max INTEGER NOT NULL DEFAULT 0,
    disk_kib_max INTEGER NOT NULL DEFAULT 0,
    wall_ms_max INTEGER NOT NULL DEFAULT 0,
    -- What the others cost
    lost_cpu_ms INTEGER NOT NULL DEFAULT 0,
    lost_wall_ms INTEGER NOT NULL DEFAULT 0,
    duplicate_cpu_ms INTEGER NOT NULL DEFAULT 0,
    duplicate_wall_ms INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What tasks wait for in other datasets.
CREATE TABLE dependency (
    child INTEGER NOT NULL,
    parent_id BLOB NOT NULL,
    parent_idx INTEGER NOT NULL,
    jobs INTEGER NOT NULL, -- 0: each job waits for the same job; n: for all of the first n
    parent INTEGER, -- task number, once that dataset is in the same log
    remaining INTEGER NOT NULL, -- of the n, not settled yet
    dead INTEGER NOT NULL DEFAULT 0, -- one of the n will not be settled as things are
    PRIMARY KEY (child, parent_id, parent_idx, jobs)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependency_parent ON dependency (parent);
CREATE INDEX dependency_parent_id ON dependency (parent_id);

-- Who owns units now: the latest grant less releases. Ranges of a task are disjoint.
CREATE TABLE owner (
    task INTEGER NOT NULL,
    lo INTEGER NOT NULL,
    hi INTEGER NOT NULL,
    site INTEGER NOT NULL,
    PRIMARY KEY (task, lo)
) STRICT, WITHOUT ROWID;

-- What a site was ever granted, as far as the results cursor has come: whose results count.
CREATE TABLE granted (
    task INTEGER NOT NULL,
    site INTEGER NOT NULL,
    lo INTEGER NOT NULL,
    hi INTEGER NOT NULL,
    PRIMARY KEY (task, site, lo)
) STRICT, WITHOUT ROWID;

-- First successes. The attempt's details stay in the entry's body.
CREATE TABLE settled (
    task INTEGER NOT NULL,
    job INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (task, job)
) STRICT, WITHOUT ROWID;

-- Accepted attempts that were no success; row counts over all results records of the entry.
CREATE TABLE fault (
    task INTEGER NOT NULL,
    job INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    row INTEGER NOT NULL,
    outcome INTEGER NOT NULL, -- as it counts: the fourth resources failure is a payload failure
    error TEXT NOT NULL,
    exit INTEGER NOT NULL,
    PRIMARY KEY (task, job, entry, row)
) STRICT, WITHOUT ROWID;

-- Successes that did not count, and why: duplicate, cancelled.
CREATE TABLE surplus (
    task INTEGER NOT NULL,
    job INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    row INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (task, job, entry, row)
) STRICT, WITHOUT ROWID;

-- Units with faults that count, since the last retry.
CREATE TABLE troubled (
    task INTEGER NOT NULL,
    job INTEGER NOT NULL,
    payload INTEGER NOT NULL,
    boosts INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    hosts TEXT NOT NULL, -- JSON list of the different ones that lost it
    failed INTEGER NOT NULL,
    PRIMARY KEY (task, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX troubled_failed ON troubled (task, job) WHERE failed = 1;

-- Units ended by an order; none of them was settled then, or ever will be.
CREATE TABLE cancelled (
    task INTEGER NOT NULL,
    lo INTEGER NOT NULL,
    hi INTEGER NOT NULL,
    PRIMARY KEY (task, lo)
) STRICT, WITHOUT ROWID;

CREATE TABLE command (
    id BLOB NOT NULL,
    dataset INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    verb TEXT NOT NULL,
    person BLOB NOT NULL,
    follows BLOB NOT NULL, -- ids of the orders it follows, end to end
    hlc INTEGER NOT NULL,
    PRIMARY KEY (id, dataset)
) STRICT, WITHOUT ROWID;
CREATE INDEX command_dataset ON command (dataset, pos);

-- Signed documents about people that were taken: each serves once.
CREATE TABLE person_order (
    id BLOB NOT NULL PRIMARY KEY,
    entry INTEGER NOT NULL,
    idx INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Records that everyone skips alike.
CREATE TABLE refused (
    entry INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    shard INTEGER NOT NULL, -- whose log it would be part of; 0 for no log's
    why TEXT NOT NULL,
    PRIMARY KEY (entry, idx, shard)
) STRICT, WITHOUT ROWID;

-- Who used how much on which day (days since 1970), in normalised microseconds, by the log that
-- accepted it.
CREATE TABLE usage (
    shard INTEGER NOT NULL,
    person BLOB NOT NULL,
    grp TEXT NOT NULL,
    day INTEGER NOT NULL,
    cpu_us INTEGER NOT NULL,
    gpu_us INTEGER NOT NULL,
    PRIMARY KEY (shard, person, grp, day)
) STRICT, WITHOUT ROWID;

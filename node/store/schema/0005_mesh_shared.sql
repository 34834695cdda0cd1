-- What a site knows by the feeds of others. Derived, like all tables of 0002.

-- Proofs that a site signed two entries for one place; first has the smaller id.
CREATE TABLE fork (
    site BLOB NOT NULL,
    generation INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    first BLOB NOT NULL,
    second BLOB NOT NULL,
    entry INTEGER NOT NULL, -- that holds a proof
    PRIMARY KEY (site, generation, lane, seq, first, second)
) STRICT, WITHOUT ROWID;

-- Which control entries hold records of a shard's log, whoever wrote them. Shards go by their ids:
-- records may come before the founding.
CREATE TABLE log_entry (
    shard BLOB NOT NULL,
    feed INTEGER NOT NULL, -- local number
    seq INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    records INTEGER NOT NULL, -- how many
    PRIMARY KEY (shard, feed, seq)
) STRICT, WITHOUT ROWID;

-- Control entries that say who leads a shard: its founding, opens, forces, votes, closed seats.
CREATE TABLE act (
    shard BLOB NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (shard, entry)
) STRICT, WITHOUT ROWID;

-- How far the acts of a shard were judged.
CREATE TABLE judged (
    shard BLOB NOT NULL PRIMARY KEY,
    acts INTEGER NOT NULL, -- how many
    last BLOB NOT NULL, -- id of the entry of the newest
    waits INTEGER NOT NULL -- opens and forces that lack something that is not here
) STRICT, WITHOUT ROWID;

CREATE INDEX judged_waits ON judged (shard) WHERE waits = 1;

-- The path of a shard's log through control feeds, as its newest term has it.
CREATE TABLE segment (
    shard INTEGER NOT NULL,
    no INTEGER NOT NULL, -- from 0, the oldest first
    term INTEGER NOT NULL,
    feed INTEGER NOT NULL, -- local number; -1: nothing of it is here
    first INTEGER NOT NULL, -- seq of the entry that began the term
    through INTEGER, -- seq of the last entry that counts; NULL: the log goes on,
    until INTEGER, -- but before this seq, where the author opened another term
    PRIMARY KEY (shard, no)
) STRICT, WITHOUT ROWID;

-- What a control feed promised a shard: the highest term it voted for, and the term to which the
-- log records that it writes belong.
CREATE TABLE author (
    shard BLOB NOT NULL,
    feed INTEGER NOT NULL,
    voted INTEGER NOT NULL DEFAULT 0,
    leads INTEGER, -- NULL: none
    PRIMARY KEY (shard, feed)
) STRICT, WITHOUT ROWID;

-- The furthest ack that counts, by author and log. Whether the author has a seat is judged later.
CREATE TABLE acked (
    shard BLOB NOT NULL,
    feed INTEGER NOT NULL, -- of the author
    term INTEGER NOT NULL,
    site BLOB NOT NULL, -- the leader of that term,
    generation INTEGER NOT NULL,
    seq INTEGER NOT NULL, -- the entry of its control feed,
    id BLOB NOT NULL,
    at_seq INTEGER NOT NULL, -- and the entry of the author's that holds the ack
    at_id BLOB NOT NULL,
    PRIMARY KEY (shard, feed, term, site, generation)
) STRICT, WITHOUT ROWID;

-- Acks of entries that are not here yet.
CREATE TABLE ack_ahead (
    site BLOB NOT NULL,
    generation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    shard BLOB NOT NULL,
    feed INTEGER NOT NULL,
    term INTEGER NOT NULL,
    at_seq INTEGER NOT NULL,
    at_id BLOB NOT NULL,
    PRIMARY KEY (site, generation, seq, shard, feed, term)
) STRICT, WITHOUT ROWID;

-- How far a shard's log is settled, where more than its leader has to ack.
CREATE TABLE settlement (
    shard INTEGER NOT NULL PRIMARY KEY,
    term INTEGER NOT NULL,
    site BLOB NOT NULL, -- the leader of that term,
    generation INTEGER NOT NULL,
    seq INTEGER NOT NULL -- and the last entry of its control feed that is settled
) STRICT;

-- Some recent roots of each cursor, at positions that other nodes keep too.
CREATE TABLE root_at (
    shard INTEGER NOT NULL,
    cursor INTEGER NOT NULL, -- 0 ownership, 1 results
    pos INTEGER NOT NULL,
    root BLOB NOT NULL,
    PRIMARY KEY (shard, cursor, pos)
) STRICT, WITHOUT ROWID;

-- Signed submissions and orders, wherever they stand: leaders put into their logs what lacks there.
CREATE TABLE offer (
    shard BLOB NOT NULL, -- that they are for
    id BLOB NOT NULL,
    kind INTEGER NOT NULL, -- of the record
    dataset BLOB NOT NULL, -- id: what an order is about, or the submission itself
    entry INTEGER NOT NULL, -- where one stands; local
    idx INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX offer_dataset ON offer (dataset);

-- Submissions and orders that a log answered, by taking or refusing them; of submissions, also
-- those that it adopted.
CREATE TABLE answered (
    shard INTEGER NOT NULL,
    id BLOB NOT NULL,
    taken INTEGER NOT NULL,
    PRIMARY KEY (shard, id)
) STRICT, WITHOUT ROWID;

-- Datasets that moved into a log.
CREATE TABLE adopted (
    shard INTEGER NOT NULL,
    dataset INTEGER NOT NULL, -- local number
    source INTEGER NOT NULL, -- the shard from which it came
    pos INTEGER NOT NULL, -- of the adopt
    PRIMARY KEY (shard, dataset)
) STRICT, WITHOUT ROWID;
CREATE INDEX adopted_source ON adopted (source);

-- How far each results feed was counted for a dataset where it left a log, by that or one before.
CREATE TABLE left_at (
    dataset INTEGER NOT NULL,
    site INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (dataset, site, generation)
) STRICT, WITHOUT ROWID;

-- Datasets of other logs, as far as units of them serve in a log; `task` and `settled` have rows of
-- them, `dataset` has none.
CREATE TABLE mirror (
    no INTEGER PRIMARY KEY, -- as of a dataset
    shard INTEGER NOT NULL, -- where they serve
    id BLOB NOT NULL, -- of the dataset
    UNIQUE (shard, id)
) STRICT;

-- Settled units that run again, as their outputs are lost.
CREATE TABLE reproducing (
    task INTEGER NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (task, job)
) STRICT, WITHOUT ROWID;

-- Which sites keep second copies of outputs, as they say.
CREATE TABLE copy (
    dataset BLOB NOT NULL,
    idx INTEGER NOT NULL, -- of the task
    site INTEGER NOT NULL,
    lo INTEGER NOT NULL,
    hi INTEGER NOT NULL,
    PRIMARY KEY (dataset, idx, site, lo)
) STRICT, WITHOUT ROWID;

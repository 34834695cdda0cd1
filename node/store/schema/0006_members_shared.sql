-- Who belongs to the mesh, and who speaks for its sites. Derived, like all tables of 0002.
-- What counts is judged over all rows, in the order of their places in a site's control feeds, so
-- that any order of arrival comes to the same.

-- Documents about people, well-formed and truly signed; `person` is what they come to.
CREATE TABLE enrolment (
    site INTEGER NOT NULL, -- in whose control feeds it stands
    generation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    id BLOB NOT NULL, -- of the document: serves once
    key BLOB NOT NULL,
    signer BLOB NOT NULL,
    adds INTEGER NOT NULL, -- 0: removes
    name TEXT NOT NULL,
    groups TEXT NOT NULL, -- JSON list
    roles TEXT NOT NULL, -- JSON list
    why TEXT NOT NULL, -- it does not count; '': it does
    PRIMARY KEY (site, generation, seq, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolment_id ON enrolment (id);
DROP TABLE person_order;

-- Documents about members, the same. What they come to depends on who looks: federation/membership.
CREATE TABLE member_act (
    site INTEGER NOT NULL, -- the author
    generation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    id BLOB NOT NULL, -- of the document: serves once
    signer BLOB NOT NULL,
    kind INTEGER NOT NULL, -- of the record
    subject BLOB, -- the key of the site that is admitted or revoked
    name TEXT NOT NULL, -- of that site, or of the mesh
    admissions INTEGER NOT NULL, -- that a policy asks for
    listed TEXT NOT NULL, -- JSON: addresses, or places [[generation, seq]], or keys in hex
    PRIMARY KEY (site, generation, seq, idx)
) STRICT, WITHOUT ROWID;

-- What a site says of itself, with the place of its newest word.
ALTER TABLE site ADD COLUMN said_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE site ADD COLUMN said_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE site ADD COLUMN addresses TEXT; -- JSON list; NULL: it has not said
ALTER TABLE site ADD COLUMN dialled_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE site ADD COLUMN dialled_seq INTEGER NOT NULL DEFAULT 0;

-- Invitations that admins of this site made here, as far as they told the node. Site-local: only this
-- node judges them, and nothing of them is in the log before somebody joins.
CREATE TABLE invitation (
    id BLOB NOT NULL PRIMARY KEY, -- of the document
    key BLOB NOT NULL, -- of the admin
    until_ms INTEGER NOT NULL,
    withdrawn INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What this site's admins call other sites: theirs alone, and no record.
CREATE TABLE petname (
    site BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

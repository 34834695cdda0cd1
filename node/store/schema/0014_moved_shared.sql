-- Where the move stands by which a dataset left. Derived, like all tables of 0002.

ALTER TABLE dataset ADD COLUMN moved_entry INTEGER; -- the control entry that holds it; local,
ALTER TABLE dataset ADD COLUMN moved_idx INTEGER; -- and which of its records

-- Where the files of a submission are, as settings change while its jobs live. Site-local: nobody folds it.
ALTER TABLE submission ADD COLUMN folder TEXT NOT NULL DEFAULT ''; -- on the submit host

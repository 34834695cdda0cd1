-- How a batch system was last spoken to, so that its jobs are found when config.toml names it no more.
-- Site-local: nobody folds it.
ALTER TABLE batch_system ADD COLUMN settings TEXT NOT NULL DEFAULT ''; -- JSON

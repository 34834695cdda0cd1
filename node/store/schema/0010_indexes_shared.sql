-- For whoever starts from datasets, or from days. Derived, like all tables of 0002.

CREATE INDEX task_dataset ON task (dataset);
CREATE INDEX usage_day ON usage (day);

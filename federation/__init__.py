"""Signed feeds and the authority that rests on them. Knows no SQLite, no HTTP and no datasets."""

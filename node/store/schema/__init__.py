"""The schema, step by step; each file is one, in the order of their numbers."""

from __future__ import annotations

import re
from importlib import resources

DERIVED_MARK = "_shared"  # in the name of a file whose tables are folded from the log


def schema_files() -> list[tuple[int, str, str]]:
    """(version, file name, SQL) of every schema step, in order."""
    found = []
    for file in resources.files("node.store.schema").iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", file.name)
        if match:
            found.append((int(match[1]), file.name, file.read_text("utf-8")))
    return sorted(found)

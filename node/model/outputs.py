"""The list of files that an attempt put out, as a pilot wrote it: a blob from outside."""

from __future__ import annotations

import json
import re
from typing import Any, Final

LIST_MAX: Final = 10_000  # files; a pilot of ours takes a thousand
PATH_BYTES_MAX: Final = 4096
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def output_list(data: bytes) -> list[dict[str, Any]]:
    """The files: path, digest (hex), size, mode. Raises ValueError for what is no such list."""
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("nests too deep") from None
    if type(found) is not list or len(found) > LIST_MAX:
        raise ValueError(f"no list of at most {LIST_MAX:,} files")
    return [_file(entry) for entry in found]


def _file(entry: Any) -> dict[str, Any]:
    if type(entry) is not dict:
        raise ValueError("an entry that is no object")
    path, digest, size, mode = (entry.get(name) for name in ("path", "digest", "size", "mode"))
    if not (type(path) is str and _is_inside(path)):
        raise ValueError(f"{str(path)[:80]!r} is no name of a file below its folder")
    if not (type(digest) is str and _DIGEST.fullmatch(digest)):
        raise ValueError("a digest that is none")
    if not (type(size) is int and 0 <= size < 2**63):
        raise ValueError("a size that is none")
    if not (type(mode) is int and 0 <= mode <= 0o777):
        raise ValueError("a mode that is none")
    return {"path": path, "digest": digest, "size": size, "mode": mode}


def _is_inside(path: str) -> bool:
    # A lone surrogate could not be written as UTF-8: that is a ValueError, too.
    fits = 0 < len(path.encode()) <= PATH_BYTES_MAX and "\0" not in path
    return fits and {"", ".", ".."}.isdisjoint(path.split("/"))

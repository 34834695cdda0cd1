"""Names of files below a unit's scratch folder, and the URLs that inputs and outputs may name."""

from __future__ import annotations

import re
from typing import Final

INPUT_SCHEMES: Final = frozenset({"file", "http", "https"})
OUTPUT_SCHEMES: Final = frozenset({"file"})
RESERVED_SCHEMES: Final = frozenset(
    {"file", "http", "https", "osdf", "pelican", "gsiftp", "root", "s3"}
)
PATH_BYTES_MAX: Final = 1024
PART_BYTES_MAX: Final = 255

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


def wrong_local(path: str, *, folder: bool = False) -> str:
    """Why `path` is no name below the scratch folder, or ""; folder: it may be "." and end in /."""
    if folder:
        path = path.rstrip("/") or path
        if path == ".":
            return ""
    if not path or len(path.encode(errors="replace")) > PATH_BYTES_MAX:
        return "is empty or too long"
    if path.startswith(("/", "~")):
        return "leaves the scratch folder"
    parts = path.split("/")
    if ".." in parts:
        return "leaves the scratch folder"
    if "" in parts or "." in parts:
        return "is no plain path"
    if "\0" in path or any(len(part.encode(errors="replace")) > PART_BYTES_MAX for part in parts):
        return "is no usable name of a file"
    return ""


def scheme(text: str) -> str:
    """The scheme of a URL, in lower case; "" for everything else."""
    match = _SCHEME.match(text)
    return match[1].lower() if match else ""


def wrong_url(url: str, allowed: frozenset[str]) -> tuple[str, str]:
    """(what is wrong, what would be right) with a URL; ("", "") if it may stand."""
    found = scheme(url)
    right = "use " + ", ".join(f"{name}:" for name in sorted(allowed))
    if found not in allowed:
        if found in RESERVED_SCHEMES:
            return f"{found}: is not yet supported here", right
        return (f"{found}: is unknown" if found else f'"{url[:60]}" is no URL'), right
    if found == "file" and not re.match(r"(?i)file:///[^/]", url):
        return f'"{url[:60]}" is no absolute path', 'write "file:///data/x"'
    if found != "file" and not re.match(r"(?i)https?://[^/\s]+", url):
        return f'"{url[:60]}" names no host', 'write "https://host/path"'
    return "", ""


def is_glob(path: str) -> bool:
    """Whether an output's name is a pattern."""
    return any(sign in path for sign in "*?[")

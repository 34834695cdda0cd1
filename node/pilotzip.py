"""The pilot as one file: a zipapp whose bytes depend on the pilot's source alone."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pilot

_DATE = (1980, 1, 1, 0, 0, 0)  # the oldest that a zip file can carry
_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = b"from pilot.__main__ import main\n\nraise SystemExit(main())\n"
_MODE = 0o644 << 16
_UNIX = 3


def sources() -> dict[str, bytes]:
    """The pilot's own modules, by name within the archive."""
    folder = Path(pilot.__file__).parent
    return {f"pilot/{path.name}": path.read_bytes() for path in folder.glob("*.py")}


def build(modules: Mapping[str, bytes] | None = None) -> bytes:
    """The archive: the same modules always give the same bytes, anywhere."""
    content = dict(sources() if modules is None else modules)
    content["__main__.py"] = _MAIN
    target = io.BytesIO()
    target.write(_SHEBANG)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_STORED  # no two zlibs agree on every byte
            info.external_attr = _MODE
            info.create_system = _UNIX
            archive.writestr(info, content[name])
    return target.getvalue()


def write(path: Path) -> Path:
    """Put the archive at `path`, executable, replacing an older one at once; give the path."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(build())
    partial.chmod(0o700)
    partial.replace(path)
    return path

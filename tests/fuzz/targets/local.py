"""Files of this site that may be old, torn or another's: backups, heads, the node's address."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from keys.identity import show
from node.home import Home
from node.store.backup import BackupError, check_backup
from node.store.highwater import Check, Head, Heads, HighWater
from pilot import config
from tests.fuzz.forms import JSON
from tests.fuzz.target import Target
from tests.unit.federation.builders import KEY

_kept: list[Any] = []


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="icefloe-fuzz-")
    _kept.append(folder)
    path = Path(folder.name)
    (path / "db").write_bytes(b"a database")
    (path / "run").mkdir()
    return path


def read_backup(data: bytes) -> dict[str, Any]:
    (_folder() / "manifest.json").write_bytes(data)
    return check_backup(_folder())


def read_heads(data: bytes) -> Check:
    """The file of heads, each of its slots with a right checksum."""
    path = _folder() / "highwater"
    path.write_bytes(_slot(data) + _slot(data))
    held = Heads(1, Head(3, b"c" * 32), Head(2, b"r" * 32))
    return HighWater(path, _folder() / "db", host="here").check(held)


def _slot(text: bytes) -> bytes:
    from node.store import highwater

    size = highwater._CHECK_BYTES
    check = hashlib.blake2b(text, digest_size=size).hexdigest().encode()
    return (check + b" " + text + b"\n").ljust(highwater.SLOT_BYTES, b"\0")[: highwater.SLOT_BYTES]


def _heads() -> dict[str, bytes]:
    path = _folder() / "made"
    water = HighWater(path, _folder() / "db", host="here")
    water.begin(Heads(1, Head(3, b"c" * 32), Head(2, b"r" * 32)))
    text = path.read_bytes().partition(b" ")[2].partition(b"\n")[0]
    path.unlink()
    return {"heads": text}


def read_address(data: bytes) -> Any:
    (_folder() / "run" / "node.json").write_bytes(data)
    return Home(_folder()).address()


def read_pilot_settings(data: bytes) -> config.Settings:
    path = _folder() / "pilot.json"
    path.touch(0o600)
    path.write_bytes(data)
    return config.read(str(path))


MANIFEST = {
    "icefloe_backup": 1,
    "site": show(KEY.site),
    "generation": 3,
    "files": {
        "db": {"size": 10, "digest": hashlib.blake2b(b"a database", digest_size=32).hexdigest()}
    },
}
ADDRESS = {"pid": 7, "api": "https://127.0.0.1:7420", "fingerprint": "ab", "site": "s", "name": "n"}
SETTINGS = {
    "urls": ["https://127.0.0.1:7420"],
    "fingerprint": "ab" * 32,
    "token": "secret",
    "work_dir": "/tmp/work",
    "cpu": 4,
    "lifetime_s": 3600,
    "gpus": ["0"],
}

TARGETS = (
    Target(
        "backup",
        read_backup,
        (BackupError,),
        lambda: {"whole": json.dumps(MANIFEST).encode()},
        JSON,
    ),
    # What the file says is a verdict, never an error: a torn file is one of the cases.
    Target("heads", read_heads, (), _heads, JSON, bytes_max=400),
    Target("node-address", read_address, (), lambda: {"one": json.dumps(ADDRESS).encode()}, JSON),
    Target(
        "pilot-settings",
        read_pilot_settings,
        (config.BadSettings,),
        lambda: {"all": json.dumps(SETTINGS).encode()},
        JSON,
    ),
)

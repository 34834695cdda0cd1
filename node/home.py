"""The layout of FLOE_HOME: where a site, and a person who talks to one, keep their files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
LOCK_NAME = "floe.lock"
LOCK_BYTES_MAX = 1024


class HomeError(Exception):
    """The home cannot be used as it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """What run/node.json says of the node that runs (or ran) on this home."""

    pid: int
    api: str  # https://HOST:PORT
    fingerprint: str  # SHA-256 of the API certificate's DER bytes, hex
    site: str  # the site's key, base32
    name: str
    note: str = ""  # what is out of order with it, for people


@dataclass(frozen=True, slots=True)
class Home:
    """One FLOE_HOME. Only paths: nothing is read or written before a method says so."""

    path: Path

    @classmethod
    def locate(cls, given: str | None = None, environ: Mapping[str, str] = os.environ) -> Home:
        """The home named by `given`, else by FLOE_HOME, else ~/.floe."""
        text = given or environ.get("FLOE_HOME") or "~/.floe"
        return cls(Path(os.path.abspath(os.path.expanduser(text))))

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def client(self) -> Path:
        """What the `floe` command reads: the user's key; for a far node its URL and fingerprint."""
        return self.path / "client.toml"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def site_key(self) -> Path:
        return self.keys / "site.key"

    @property
    def api_certificate(self) -> Path:
        """The API's P-256 certificate and its key, PEM, in one file."""
        return self.keys / "api.pem"

    @property
    def user_key(self) -> Path:
        """Made by `floe init` for a person who has no SSH key of the right kind."""
        return self.keys / "user_ed25519"

    @property
    def enrol(self) -> Path:
        """The signed enrolment of the first admin, which the node's first start records."""
        return self.path / "enrol.json"

    @property
    def database(self) -> Path:
        return self.path / "floe.sqlite"

    @property
    def highwater(self) -> Path:
        return self.path / "floe.highwater"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def pilots(self) -> Path:
        return self.path / "pilots"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def node_json(self) -> Path:
        return self.run / "node.json"

    @property
    def lock(self) -> Path:
        """Held by the node; names its process."""
        return self.path / LOCK_NAME

    @property
    def tokens(self) -> Path:
        """Login tokens of the `floe` command, one 0600 file a site and user key."""
        return self.run / "tokens"

    @property
    def log(self) -> Path:
        return self.path / "log"

    def holder(self) -> int | None:
        """The process that last held the lock, if that was on this machine."""
        try:
            with self.lock.open("rb") as file:
                word, pid, _, host = file.read(LOCK_BYTES_MAX).decode().split()
            return int(pid) if (word, host) == ("pid", os.uname().nodename) else None
        except (OSError, ValueError):
            return None

    def exists(self) -> bool:
        """True once `floe init` made a site here."""
        return self.site_key.exists()

    def create(self) -> None:
        """Make the folders, each 0700. Raises HomeError where another file is in the way."""
        for folder in (self.path, self.keys, self.blobs, self.pilots, self.run, self.log):
            make_private_folder(folder)

    def address(self) -> NodeAddress | None:
        """The node named in run/node.json; None if there is no such file or it is not whole."""
        try:
            found: Any = json.loads(self.node_json.read_bytes())
            return NodeAddress(
                pid=int(found["pid"]),
                api=str(found["api"]),
                fingerprint=str(found["fingerprint"]),
                site=str(found["site"]),
                name=str(found["name"]),
                note=str(found.get("note", "")),
            )
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None


def make_private_folder(folder: Path) -> None:
    """Make `folder` (and its parents) with mode 0700; an existing one is made 0700."""
    try:
        folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        folder.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise HomeError(
            f"cannot use {folder}: {error.strerror}; name another with FLOE_HOME"
        ) from None


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` with a 0600 file in one step, so that no reader sees half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise

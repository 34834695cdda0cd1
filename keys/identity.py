"""The site key: who a site is. Created once, kept in a file that only its owner can read."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Final

from keys import signing
from keys.signing import BadKey, Purpose

_FILE_TITLE: Final = "icefloe site key 1"
_FILE_BYTES_MAX: Final = 1024
_SHOWN_CHARS: Final = 52  # 32 bytes in base32 without padding
_SHORT_CHARS: Final = 8


class KeyFileError(Exception):
    """The site key's file cannot be made, read or trusted; the message says what to do."""


def show(site: bytes) -> str:
    """Base32 in lower case without padding: 52 characters for the 32 bytes of a key."""
    return base64.b32encode(site).decode("ascii").rstrip("=").lower()


def parse(text: str) -> bytes:
    """The inverse of `show`, in any case; raises BadKey on anything else."""
    text = text.strip()
    if len(text) != _SHOWN_CHARS:
        raise BadKey(f"a site key is written with {_SHOWN_CHARS} characters, not {len(text)}")
    raw = _unbase32(text)
    if show(raw) != text.lower():  # the last character has four bits that must be zero
        raise BadKey("not a site key: its last character has bits that none can have")
    return signing.check_key(raw)


def short(name: str, site: bytes) -> str:
    """`name·abcd1234`: for people; never an identity in code."""
    return f"{name}·{show(site)[:_SHORT_CHARS]}"


class SiteKey:
    """A site's Ed25519 key. Keep few copies: the secret stays in memory while this lives."""

    __slots__ = ("_secret", "seed", "site")

    def __init__(self, seed: bytes) -> None:
        """seed: the 32 secret bytes. Use `create` or `load`; this is for tests and tools."""
        if len(seed) != signing.SEED_BYTES:
            raise BadKey(f"a seed has {signing.SEED_BYTES} bytes, not {len(seed)}")
        self.seed = seed
        self.site, self._secret = signing.keypair(seed)

    def __repr__(self) -> str:
        return f"<SiteKey {show(self.site)[:_SHORT_CHARS]}>"

    def sign(self, purpose: Purpose, data: bytes) -> bytes:
        """64 bytes over the purpose's prefix and `data`."""
        return signing.sign(self._secret, purpose, data)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> SiteKey:
        """Make a new key and its file (0600), durable on return.

        Raises KeyFileError when the file exists (it is left alone) or cannot be written
        (then no file is left).
        """
        key = cls(secrets.token_bytes(signing.SEED_BYTES))
        write_secret_file(Path(path), _file_text(key).encode("ascii"))
        return key

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SiteKey:
        """Read a key's file.

        Raises KeyFileError when it is missing, damaged, or open to other accounts.
        """
        return cls(_read_seed(Path(path)))


def write_secret_file(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read, durable with its name on return.

    Raises KeyFileError when `path` exists or cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already; move it away to make a new one") from None
    except OSError as error:
        raise KeyFileError(f"cannot create {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # whatever the umask is
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None


def read_secret_file(path: Path, bytes_max: int) -> bytes:
    """The content of a file that must belong to this account alone.

    Raises KeyFileError when it is missing, too large, or open to other accounts.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
    if status.st_mode & 0o077:
        raise KeyFileError(f"{path} is open to other accounts; run: chmod 600 {path}")
    if len(content) > bytes_max:
        raise KeyFileError(f"{path} is no key: it has more than {bytes_max} bytes")
    return content


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file_text(key: SiteKey) -> str:
    # The public half is there so that a damaged seed is noticed, not used as another identity.
    return f"{_FILE_TITLE}\nsite {show(key.site)}\nseed {show(key.seed)}\n"


def _read_seed(path: Path) -> bytes:
    content = read_secret_file(path, _FILE_BYTES_MAX)
    damaged = f"{path} is damaged or no site key; restore it from a backup"
    try:
        text = content.decode("ascii")
        seed = _unbase32(text.rstrip().rpartition(" ")[2])
        fits = text == _file_text(SiteKey(seed))
    except (ValueError, BadKey):
        raise KeyFileError(damaged) from None
    if not fits:
        raise KeyFileError(damaged)
    return seed


def _unbase32(text: str) -> bytes:
    padding = "=" * (-len(text) % 8)
    try:
        return base64.b32decode(text.upper() + padding)
    except (binascii.Error, ValueError):
        raise BadKey("not base32: a key has the letters a-z and the digits 2-7 only") from None

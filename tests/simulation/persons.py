"""People with SSH keys, who sign as ssh-keygen does."""

from __future__ import annotations

import struct
from hashlib import sha512

from nacl.signing import SigningKey

from federation.ids import UserKey
from keys.sshsig import NAMESPACE
from node.services.people import Person

_MAGIC = b"SSHSIG"
_KEY_TYPE = b"ssh-ed25519"
_HASH = b"sha512"


class Signer:
    """Somebody who submits and orders."""

    def __init__(self, name: str, *, admin: bool) -> None:
        self.name = name
        self.admin = admin
        self._key = SigningKey(name.encode().ljust(32, b"-"))
        self.key = UserKey(bytes(self._key.verify_key))

    def sign(self, document: bytes) -> bytes:
        """A signature in OpenSSH's format: the raw blob."""
        space = _string(NAMESPACE.encode())
        hashed = _string(sha512(document).digest())
        covered = _MAGIC + space + _string(b"") + _string(_HASH) + hashed
        signed = _string(_KEY_TYPE) + _string(self._key.sign(covered).signature)
        public = _string(_KEY_TYPE) + _string(self.key)
        parts = [public, NAMESPACE.encode(), b"", _HASH, signed]
        return _MAGIC + struct.pack(">I", 1) + b"".join(map(_string, parts))

    @property
    def person(self) -> Person:
        """As the sites know them."""
        return Person(self.key, self.name, (), ("admin",) if self.admin else ())


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


ANA = Signer("ana", admin=True)
BEN = Signer("ben", admin=False)

"""Throw-away people with keys, signing as OpenSSH does but without the program."""

import hashlib
import struct

from keys import signing
from keys.sshsig import PublicKey, armor
from node.services.people import Person


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class Signer:
    """A person of that name with a key of their own."""

    def __init__(self, name, groups=(), roles=()):
        seed = hashlib.sha256(name.encode()).digest()
        raw, self._secret = signing.keypair(seed)
        self.key = PublicKey(raw, f"{name}@host")
        self.person = Person(raw, name, tuple(groups), tuple(roles))

    def sign(self, message: bytes, namespace: str = "icefloe") -> bytes:
        """The raw signature blob. Source: OpenSSH's PROTOCOL.sshsig."""
        fields = _string(namespace.encode()) + _string(b"") + _string(b"sha512")
        covered = b"SSHSIG" + fields + _string(hashlib.sha512(message).digest())
        inner = _string(b"ssh-ed25519") + _string(signing.sign_raw(self._secret, covered))
        return b"SSHSIG" + struct.pack(">I", 1) + _string(self.key.blob()) + fields + _string(inner)

    def sign_armored(self, message: bytes) -> str:
        return armor(self.sign(message))


ANA = Signer("ana", ["physics"], ["admin"])
BEN = Signer("ben", ["physics"])
EVE = Signer("eve")  # enrolled nowhere

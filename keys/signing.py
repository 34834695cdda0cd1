"""Sign and verify, one domain prefix per purpose; the only place that calls Ed25519 on bytes.

A signature or digest made for one purpose can never be read as one of another: every purpose
puts its own prefix, ended by a zero byte, before the data. No prefix is the start of another.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import Final

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError

KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
DIGEST_BYTES: Final = 32


class BadSignature(Exception):
    """A signature does not fit its key, purpose and data."""


class BadKey(Exception):
    """Bytes or text that are no usable Ed25519 key."""


class Purpose(bytes, Enum):
    """What a signature or a digest is for; the value is its prefix."""

    ENTRY = b"icefloe entry 1\0"  # entry ids and signatures, over header bytes
    BODY = b"icefloe body 1\0"  # body_hash of an entry
    BEACON = b"icefloe beacon 1\0"
    LEAD = b"icefloe lead 1\0"
    CLAIM = b"icefloe claim 1\0"
    SHARD = b"icefloe shard 1\0"  # shard ids
    DATASET = b"icefloe dataset 1\0"  # dataset ids, over the signed document
    COMMAND = b"icefloe command 1\0"  # order ids, over the signed document
    PERSON = b"icefloe person 1\0"  # ids of user.add and user.remove documents
    MEMBER = b"icefloe member 1\0"  # ids of documents about sites and the mesh
    INVITE = b"icefloe invite 1\0"  # over an invitation's secret
    LOGIN = b"icefloe login 1\0"


def digest(purpose: Purpose, data: bytes) -> bytes:
    """BLAKE2b-256 of the purpose's prefix and `data`: 32 bytes."""
    return blake2b(purpose.value + data, digest_size=DIGEST_BYTES).digest()


def keypair(seed: bytes) -> tuple[bytes, bytes]:
    """(public, secret) of a 32-byte seed; `secret` is libsodium's 64 bytes, for `sign`."""
    public, secret = crypto_sign_seed_keypair(seed)
    return public, secret


def sign(secret: bytes, purpose: Purpose, data: bytes) -> bytes:
    """64 bytes of Ed25519 over prefix and `data`, with a `secret` from `keypair`."""
    return sign_raw(secret, purpose.value + data)


def verify(key: bytes, purpose: Purpose, data: bytes, signature: bytes) -> None:
    """Raise BadSignature unless `signature` is `key`'s over prefix and `data`."""
    verify_raw(key, purpose.value + data, signature)


def sign_raw(secret: bytes, message: bytes) -> bytes:
    """Ed25519 without a prefix: only for formats that separate their domains themselves."""
    signed: bytes = crypto_sign(message, secret)
    return signed[:SIGNATURE_BYTES]


def verify_raw(key: bytes, message: bytes, signature: bytes) -> None:
    """Ed25519 without a prefix, with libsodium's rules: S below the order, no small-order keys."""
    if len(key) != KEY_BYTES:
        raise BadSignature(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    try:
        crypto_sign_open(signature + message, key)
    except CryptoError:
        raise BadSignature("the signature does not fit its key and data") from None


def check_key(key: bytes) -> bytes:
    """`key` itself; raise BadKey unless it is a canonical point of the prime-order group."""
    if len(key) != KEY_BYTES:
        raise BadKey(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    if not crypto_core_ed25519_is_valid_point(key):
        raise BadKey("these 32 bytes are no Ed25519 public key")
    return key

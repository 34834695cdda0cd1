"""The one question of a stranger, and its answer: redeem an invitation. Pure.

Both are msgpack arrays whose first field is a version, so that an older site can say what it does
not understand. The site that asks is the one whose key the TLS session showed; it is not named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from federation import codec, limits
from federation.errors import LocalError, PeerError
from federation.fields import BadField, Check, blob, distinct, exact, integer, text

VERSION: Final = 1
WORDS_BYTES_MAX: Final = 512


class Verdict(StrEnum):
    """What became of an invitation."""

    TAKEN = "taken"  # the site that asked is admitted, durably
    VERSION = "version"
    MALFORMED = "malformed"  # the request, or the document in it, is not as it should be
    SPONSOR = "sponsor"  # another site's invitation
    SIGNATURE = "signature"  # no admin of the sponsor signed it
    SECRET = "secret"  # the secret is not the one that was invited
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"  # an admin of the sponsor took it back
    USED = "used"
    REVOKED = "revoked"
    BUSY = "busy"  # ask again later


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """name, addresses: of the site that asks; document, signature: the admin's invitation."""

    name: str
    addresses: tuple[str, ...]
    secret: bytes
    document: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """verdict: a `Verdict`, or one that a later version added. words: for people.

    now_ms: the sponsor's wall clock, by which it judged. admitted, needed: how many members
    admitted the site, and how many must before it is one; equal once it is.
    """

    verdict: str
    words: str
    now_ms: int
    admitted: int = 0
    needed: int = 0


_REQUEST: Final[tuple[Check, ...]] = (
    text(limits.NAME_BYTES_MAX, 1),
    distinct(text(limits.ADDRESS_BYTES_MAX, 1), 0, limits.ADDRESSES_MAX),
    exact(limits.SECRET_BYTES),
    blob(1, limits.INVITE_DOC_BYTES_MAX),
    blob(1, limits.SIGNATURE_BYTES_MAX),
)
_ANSWER: Final[tuple[Check, ...]] = (
    text(32, 1),
    text(WORDS_BYTES_MAX),
    integer(0, limits.WALL_CLOCK_MS_MAX),
    integer(0, limits.MEMBERS_MAX),
    integer(0, limits.MEMBERS_MAX),
)


class OtherVersion(PeerError):
    """A message of a version that this site does not speak."""


def write_request(request: JoinRequest) -> bytes:
    values = [request.name, list(request.addresses), request.secret]
    return _written([*values, request.document, request.signature], _REQUEST)


def read_request(data: bytes) -> JoinRequest:
    """Raises OtherVersion, PeerError."""
    name, addresses, secret, document, signature = _read(data, _REQUEST)
    return JoinRequest(name, tuple(addresses), secret, document, signature)


def write_answer(answer: JoinAnswer) -> bytes:
    words = answer.words.encode()[:WORDS_BYTES_MAX].decode("utf-8", "ignore")
    values = [str(answer.verdict), words, answer.now_ms, answer.admitted, answer.needed]
    return _written(values, _ANSWER)


def read_answer(data: bytes) -> JoinAnswer:
    """Raises OtherVersion, PeerError."""
    return JoinAnswer(*_read(data, _ANSWER))


def _written(values: list[Any], checks: tuple[Check, ...]) -> bytes:
    try:
        for check, value in zip(checks, values, strict=True):
            check(value)
    except BadField as error:
        raise LocalError(f"no join message: {error}") from None
    return codec.pack([VERSION, *values])


def _read(data: bytes, checks: tuple[Check, ...]) -> list[Any]:
    fields = codec.unpack(data, bytes_max=limits.JOIN_BYTES_MAX, depth_max=2)
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        raise PeerError("no join message")
    version, *values = fields
    if version != VERSION:
        raise OtherVersion(f"a join message of version {version}; this site speaks {VERSION}")
    if len(values) != len(checks):
        raise PeerError(f"a join message of {len(values)} fields")
    try:
        for check, value in zip(checks, values, strict=True):
            check(value)
    except BadField as error:
        raise PeerError(f"a join message with a field that is {error}") from None
    return values

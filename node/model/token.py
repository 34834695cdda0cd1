"""The token by which a site joins a mesh, as text that people copy; pure.

    floe1.SIZE.DATA

DATA is base64url of four bytes of checksum and msgpack [secret, document, signature]; SIZE is the
number of its characters, so that a token that was cut off is told from one that was changed. White
space, which mail programs put in, is left out when it is read.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from federation import codec, limits
from federation.errors import PeerError
from keys.signing import BadSignature
from keys.sshsig import PublicKey, verify
from node.model.member import Invite, hash_secret, read
from node.model.problems import Invalid

TOKEN_CHARS_MAX: Final = 8 * 1024
PREFIX: Final = "floe1"
_SUM_BYTES: Final = 4
_TOKEN: Final = re.compile(r"floe([0-9]{1,4})\.([0-9]{1,5})\.(.*)", re.DOTALL)
_AGAIN: Final = "ask for it once more"


class BadToken(ValueError):
    """Text that is no invitation; the message says why, `right` what to do."""

    def __init__(self, message: str, right: str = _AGAIN) -> None:
        super().__init__(message)
        self.right = right


@dataclass(frozen=True, slots=True)
class Token:
    """An invitation with its secret. invite: what the document says; signer: who signed it."""

    secret: bytes
    document: bytes
    signature: bytes
    invite: Invite
    signer: PublicKey


def write_token(secret: bytes, document: bytes, signature: bytes) -> str:
    """The text of an invitation."""
    packed = codec.pack([secret, document, signature])
    data = base64.urlsafe_b64encode(_sum(packed) + packed).decode("ascii").rstrip("=")
    return f"{PREFIX}.{len(data)}.{data}"


def read_token(text: str) -> Token:
    """The invitation in a token. Raises BadToken."""
    if len(text) > TOKEN_CHARS_MAX:
        raise BadToken(f"this is no token: it has {len(text):,} characters")
    packed = _unwrapped("".join(text.split()))
    try:
        fields = codec.unpack(packed, bytes_max=TOKEN_CHARS_MAX, depth_max=1)
    except PeerError:
        fields = None
    if type(fields) is not list or [type(field) for field in fields] != [bytes] * 3:
        raise BadToken("this token holds no invitation")
    return _checked(*fields)


def _unwrapped(text: str) -> bytes:
    """What the text holds, its checksum checked."""
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise BadToken(
            "this is no token of floe mesh invite: those begin with floe1.",
            "copy all that it printed, and nothing else",
        )
    if found[1] != "1":
        raise BadToken("this token was made by a newer floe", "bring floe up to date here")
    size, data = int(found[2]), found[3]
    if len(data) != size:
        lost = f"{size - len(data)} of {size} characters are missing"
        more = f"{len(data) - size} characters too many"
        raise BadToken(f"this token is torn: {lost if len(data) < size else more}")
    try:
        raw = base64.b64decode(data + "=" * (-size % 4), b"-_", validate=True)
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") != data:
            raise ValueError("bits behind the last byte")
    except ValueError:
        raise BadToken("this token has characters that none can have") from None
    packed = raw[_SUM_BYTES:]
    if raw[:_SUM_BYTES] != _sum(packed):
        raise BadToken("this token was changed on its way: its checksum does not fit")
    return packed


def _checked(secret: bytes, document: bytes, signature: bytes) -> Token:
    try:
        invite = read(document)
    except Invalid as error:
        raise BadToken(f"this token holds no invitation: {error.errors[0].what}") from None
    if not isinstance(invite, Invite) or len(document) > limits.INVITE_DOC_BYTES_MAX:
        raise BadToken("this token holds no invitation")
    if len(secret) != limits.SECRET_BYTES or hash_secret(secret) != invite.secret:
        raise BadToken("this token's secret is not that of its invitation")
    try:
        signer = verify(document, signature)
    except BadSignature as error:
        raise BadToken(f"nobody signed this token's invitation: {error}") from None
    return Token(secret, document, signature, invite, signer)


def _sum(packed: bytes) -> bytes:
    return blake2b(packed, digest_size=_SUM_BYTES, person=b"floe token").digest()

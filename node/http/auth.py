"""Who is asking: login by a signed challenge, and the tokens that it gives.

A challenge is not remembered when it is handed out: it carries its own expiry under a MAC of this
process, so that asking for challenges without end costs the node nothing. Only an answered one is
remembered, until it expires, so that it serves once. Tokens live in memory, as hashes: they end
with the process, and the command logs in again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from keys import sshsig
from keys.signing import BadKey, BadSignature
from node.http import limits
from node.http.json import ApiError

_MAC_BYTES = 16
_NONCE_BYTES = 16
_TIME_BYTES = 8


class Person(Protocol):
    """What the edge needs to know of an enrolled person."""

    @property
    def key(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def roles(self) -> tuple[str, ...]: ...


FindPerson = Callable[[bytes], Person | None]


@dataclass(slots=True)
class _Token:
    key: bytes
    expires_s: float


def login_message(site: str, challenge: str) -> bytes:
    """What a person signs to log in: bound to this site and to one challenge."""
    return f"icefloe login 1\n{site}\n{challenge}".encode()


class Logins:
    """Challenges and tokens of one node.

    site: the site's key as text; find_person: the enrolled person with this key, if any;
    now_s: a monotonic clock in seconds; random: fresh secret bytes of a length.
    """

    def __init__(
        self,
        site: str,
        find_person: FindPerson,
        now_s: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._site = site
        self._find_person = find_person
        self._now_s = now_s
        self._random = random
        self._secret = random(32)
        self._answered: OrderedDict[str, float] = OrderedDict()
        self._tokens: OrderedDict[bytes, _Token] = OrderedDict()

    def challenge(self, key_line: str) -> str:
        """A challenge for the holder of this OpenSSH public key.

        Raises ApiError: 400 for no such key, 403 for one that is not enrolled.
        """
        try:
            key = sshsig.PublicKey.parse(key_line)
        except BadKey as error:
            raise ApiError(400, str(error), 'send "ssh-ed25519 AAAA..."') from None
        self._enrolled(key)
        expires_us = int((self._now_s() + limits.CHALLENGE_S) * 1e6)
        head = expires_us.to_bytes(_TIME_BYTES, "big") + self._random(_NONCE_BYTES)
        return base64.urlsafe_b64encode(head + self._mac(head, key.raw)).decode()

    def answer(self, challenge: str, armored: str) -> tuple[str, Person]:
        """The token for a signed challenge, good for TOKEN_S, and whose it is.

        Raises ApiError: 401 for a challenge that is foreign, expired, used or wrongly signed.
        """
        head, mac = _split(challenge)
        now_s = self._now_s()
        if int.from_bytes(head[:_TIME_BYTES], "big") < now_s * 1e6:
            raise ApiError(401, "the challenge has expired", "ask for a new one", code="expired")
        key = _signer(login_message(self._site, challenge), armored)
        if not hmac.compare_digest(mac, self._mac(head, key.raw)):
            raise ApiError(401, "the challenge was made for another key or by another node")
        person = self._enrolled(key)
        self._use(challenge, now_s)
        return self._issue(person, now_s), person

    def bearer(self, authorization: str | None) -> Person:
        """Whose token this Authorization header carries. Raises ApiError(401)."""
        token = (authorization or "").removeprefix("Bearer ")
        if not token or token == authorization:
            raise ApiError(401, "this needs a login", "POST /v1/login first; floe does it for you")
        found = self._tokens.get(_hash(token))
        if found is None or found.expires_s < self._now_s():
            raise ApiError(401, "the token is unknown or has expired", "log in again")
        person = self._find_person(found.key)
        if person is None:
            raise ApiError(401, "this person is no longer enrolled here", "ask an admin")
        return person

    def forget(self, key: bytes) -> None:
        """Drop every token of this person."""
        for token in [t for t, found in self._tokens.items() if found.key == key]:
            del self._tokens[token]

    def _enrolled(self, key: sshsig.PublicKey) -> Person:
        person = self._find_person(key.raw)
        if person is None:
            raise ApiError(
                403,
                f"the key {key.fingerprint()} is not enrolled at this site",
                f'ask its admin: floe users add NAME "{key.line()}"',
                code="not-enrolled",
            )
        return person

    def _mac(self, head: bytes, key: bytes) -> bytes:
        return hmac.digest(self._secret, head + key, hashlib.sha256)[:_MAC_BYTES]

    def _use(self, challenge: str, now_s: float) -> None:
        """Let a challenge serve once. Forgetting is safe: what is forgotten has expired."""
        while self._answered and next(iter(self._answered.values())) < now_s:
            self._answered.popitem(last=False)
        if challenge in self._answered:
            raise ApiError(401, "the challenge was used already", "ask for a new one", code="used")
        if len(self._answered) >= limits.ANSWERS_REMEMBERED_MAX:
            raise ApiError(429, "too many logins at once", "try again in a minute")
        self._answered[challenge] = now_s + limits.CHALLENGE_S

    def _issue(self, person: Person, now_s: float) -> str:
        mine = [t for t, found in self._tokens.items() if found.key == person.key]
        if len(mine) >= limits.TOKENS_PER_PERSON_MAX:
            del self._tokens[mine[0]]
        elif len(self._tokens) >= limits.TOKENS_MAX:
            self._tokens.popitem(last=False)
        token = base64.urlsafe_b64encode(self._random(32)).decode().rstrip("=")
        self._tokens[_hash(token)] = _Token(person.key, now_s + limits.TOKEN_S)
        return token


def _hash(token: str) -> bytes:
    return hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=32).digest()


def _split(challenge: str) -> tuple[bytes, bytes]:
    try:
        raw = base64.b64decode(challenge.encode("ascii"), b"-_", validate=True)
    except ValueError:
        raw = b""
    if len(raw) != _TIME_BYTES + _NONCE_BYTES + _MAC_BYTES:
        raise ApiError(401, "this is no challenge of this node", "ask for one at /v1/login")
    return raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]


def _signer(message: bytes, armored: str) -> sshsig.PublicKey:
    """Who signed, from an armored OpenSSH signature. Raises ApiError(401)."""
    try:
        return sshsig.verify(message, sshsig.dearmor(armored))
    except BadSignature as error:
        raise ApiError(401, f"the signature does not hold: {error}", code="signature") from None

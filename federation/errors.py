"""Whose mistake it is: LocalError is ours and stops the operation, PeerError is theirs."""

from __future__ import annotations

from keys.identity import show


class LocalError(Exception):
    """This site tried to write or send what the protocol does not allow: a bug of ours."""


class PeerError(Exception):
    """Bytes from outside break the protocol. The link that brought them is closed and counted."""


class Busy(Exception):
    """This site takes in no more for now; nothing of what it refused is kept: ask again later."""


class BadEntry(PeerError):
    """A header, signature or body that is no entry, or not the one it claims to be."""


class Unreachable(Exception):
    """No link leads to a site now, or its answer did not come in time. Asking again may help."""


class WrongSite(Unreachable):
    """Where a site was dialled, another one answers; `found` is its key."""

    def __init__(self, found: bytes) -> None:
        self.found = found
        super().__init__(f"another site answers there: {show(found)}")


class RemoteRefused(Exception):
    """Another site answered a request with a refusal; `reason` is its words."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

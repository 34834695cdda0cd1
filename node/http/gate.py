"""What a request may bring, judged from its head alone."""

from __future__ import annotations

from collections.abc import Callable

from node.http import limits
from node.http.auth import Logins
from node.http.json import ApiError


class EdgeGate:
    """People's uploads and pilots' batches are large; nobody else's body is.

    pilot_known: whether a bearer token is a living pilot session's.
    """

    def __init__(self, logins: Logins, pilot_known: Callable[[str], bool]) -> None:
        self._logins = logins
        self._pilot_known = pilot_known

    def body_bytes_max(self, method: bytes, path: bytes) -> int:
        if method == b"PUT" and path.startswith((b"/v1/blobs/", b"/pilot/v1/blob/")):
            return limits.BLOB_BYTES_MAX
        if path == b"/pilot/v1/blobs":
            return limits.BATCH_BYTES_MAX
        return limits.BODY_BYTES_MAX

    def known(self, authorization: bytes | None, path: bytes) -> bool:
        header = (authorization or b"").decode("latin-1")
        if path.startswith(b"/pilot/"):
            return self._pilot_known(header.removeprefix("Bearer "))
        try:
            self._logins.bearer(header)
        except ApiError:
            return False
        return True

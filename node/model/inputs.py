"""The digest over what a unit read: of what others made it out of. Pure.

Source: docs/protocol.md, "Inputs".
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

DIGEST_BYTES: Final = 32
_NOTHING: Final = bytes(DIGEST_BYTES)  # in place of a unit that has no outputs


def read_digest(lists: Iterable[bytes]) -> bytes:
    """lists: digests of the output lists of the units that it waits for, in the order of tasks."""
    joined = b"".join(each or _NOTHING for each in lists)
    return blake2b(joined, digest_size=DIGEST_BYTES).digest()

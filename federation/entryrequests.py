"""One entry, asked for by its name: a damaged one of this site's store, or one of another branch.

Sync moves feeds forward; this is for what lies within them. Whoever holds the entry can give it:
its id proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from federation import codec, limits
from federation.entry import Entry, open_entry, verify_entry
from federation.errors import PeerError, RemoteRefused, Unreachable
from federation.ids import EntryID, EntryRef, FeedID, Lane, SiteID
from federation.ports import FeedStore
from keys.signing import DIGEST_BYTES, KEY_BYTES

KIND: Final = "floe.entry"
_ASK_BYTES_MAX: Final = 128
_ANSWER_BYTES_MAX: Final = limits.FRAME_BYTES_MAX
Ask = Callable[[SiteID, str, bytes], "Deferred[bytes]"]


class EntryRequests:
    """See the module."""

    def __init__(self, store: FeedStore, ask: Ask, sites: Callable[[], Sequence[SiteID]]) -> None:
        """sites: those to ask, the best first."""
        self._store = store
        self._ask = ask
        self._sites = sites

    async def fetch(self, ref: EntryRef) -> Entry:
        """The entry, from whoever has it, checked. Raises Unreachable when nobody gives it."""
        said = "there is no link"
        for site in self._sites()[: limits.ENTRY_SITES_MAX]:
            try:
                return _checked(ref, await self._ask(site, KIND, write_ref(ref)))
            except (Unreachable, RemoteRefused, PeerError) as error:
                said = str(error)
        raise Unreachable(f"nobody gave entry {ref.seq} of a feed: {said}")

    async def answer(self, site: SiteID, body: bytes) -> bytes:
        """Give an entry. Raises RemoteRefused."""
        try:
            entry = self._store.entry(read_ref(body))
            if entry is not None:
                verify_entry(entry)
        except PeerError as error:
            raise RemoteRefused(str(error)) from None
        if entry is None or entry.body is None:
            raise RemoteRefused("that entry is not here")
        return codec.pack([entry.header_bytes, entry.signature, entry.body])


def write_ref(ref: EntryRef) -> bytes:
    """An entry's name: [site, generation, lane, seq, id]."""
    feed = ref.feed
    return codec.pack([feed.site, feed.generation, int(feed.lane), ref.seq, ref.id])


def read_ref(data: bytes) -> EntryRef:
    """The inverse of `write_ref`. Raises PeerError."""
    fields = codec.unpack(data, bytes_max=_ASK_BYTES_MAX, depth_max=1)
    if type(fields) is not list or len(fields) != 5:
        raise PeerError("a question for an entry that is not [site, generation, lane, seq, id]")
    site, generation, lane, seq, id_ = fields
    good = (
        _is_bytes(site, KEY_BYTES)
        and _is_bytes(id_, DIGEST_BYTES)
        and _is_int(generation, limits.GENERATION_MIN, limits.GENERATION_MAX)
        and _is_int(lane, 0, max(Lane))
        and _is_int(seq, 1, limits.SEQ_MAX)
    )
    if not good:
        raise PeerError("a question for an entry whose fields are out of bounds")
    return EntryRef(FeedID(SiteID(site), generation, Lane(lane)), seq, EntryID(id_))


def _checked(ref: EntryRef, data: bytes) -> Entry:
    """The entry in an answer, if it is the one that was asked for. Raises PeerError."""
    parts = codec.unpack(data, bytes_max=_ANSWER_BYTES_MAX, depth_max=1)
    if type(parts) is not list or len(parts) != 3 or not all(type(p) is bytes for p in parts):
        raise PeerError("an entry that is not [header, signature, body]")
    entry = open_entry(*parts)
    if entry.ref != ref:
        raise PeerError("another entry than was asked for")
    return entry


def _is_bytes(value: Any, size: int) -> bool:
    return type(value) is bytes and len(value) == size


def _is_int(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high

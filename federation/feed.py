"""One site's feed: what may follow what, and the proof when two entries claim one place. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from federation.entry import Entry, open_entry
from federation.errors import LocalError, PeerError
from federation.ids import EntryID, FeedID


@dataclass(frozen=True, slots=True)
class FeedTip:
    """The newest entry known of a feed. seq 0, id b"" and hlc 0: none yet."""

    feed: FeedID
    seq: int = 0
    id: bytes = b""
    hlc: int = 0


class Gap(PeerError):
    """An entry that does not directly follow the tip: entries between are missing here."""

    def __init__(self, tip: FeedTip, entry: Entry) -> None:
        self.missing_from = tip.seq + 1
        self.missing_to = entry.header.seq - 1
        super().__init__(f"entry {entry.header.seq} came while {tip.seq} is the newest here")


class Known(PeerError):
    """The very entry at the tip, or a place before it: nothing to do if the store agrees.

    `settled` is False when the entry lies before the tip, so that only a comparison with the
    stored entry of that place (`check_same`) tells a repeat from a fork.
    """

    def __init__(self, entry: Entry, *, settled: bool) -> None:
        self.settled = settled
        super().__init__(f"entry {entry.header.seq} is not newer than what is held")


class Fork(PeerError):
    """Two entries claim one place of a feed, or one follows an entry that is not ours.

    at: the place at which the branches differ for certain; with `entry` at that place, and ours,
    `prove_fork` makes the proof. An entry that follows a foreign one differs already before:
    at = its seq - 1, and the sender must be asked for the entry there.
    """

    def __init__(self, entry: Entry, at: int) -> None:
        self.entry = entry
        self.at = at
        super().__init__(f"two branches of one feed at {at}")


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Two signed headers of one (feed, seq) with different ids: proves itself to anybody."""

    first: bytes
    first_signature: bytes
    second: bytes
    second_signature: bytes


def follow(tip: FeedTip, entry: Entry) -> FeedTip:
    """The feed's tip after `entry`, whose signature has been checked.

    Raises Gap, Known or Fork; the tip stays what it was.
    """
    header = entry.header
    if header.feed != tip.feed:
        raise LocalError("an entry compared with the tip of another feed")
    if header.seq > tip.seq + 1:
        raise Gap(tip, entry)
    if header.seq == tip.seq + 1:
        if header.prev != tip.id:
            raise Fork(entry, tip.seq)
        return FeedTip(tip.feed, header.seq, entry.id, header.hlc)
    if header.seq == tip.seq:
        check_same(EntryID(tip.id), entry)
        raise Known(entry, settled=True)
    raise Known(entry, settled=False)


def check_same(held: EntryID, entry: Entry) -> None:
    """Raise Fork unless `entry` is the one held at its place."""
    if entry.id != held:
        raise Fork(entry, entry.header.seq)


def prove_fork(one: Entry, other: Entry) -> ForkProof:
    """The proof that both entries stand at one place; the same whichever is named first.

    Raises LocalError when they do not.
    """
    first, second = sorted((one, other), key=lambda entry: entry.id)
    if not _conflict(first, second):
        raise LocalError("these two entries are no fork")
    return ForkProof(first.header_bytes, first.signature, second.header_bytes, second.signature)


def check_fork(proof: ForkProof) -> tuple[FeedID, int]:
    """The feed and the place that a proof shows to be forked; raises PeerError if it does not."""
    first = open_entry(proof.first, proof.first_signature, None)
    second = open_entry(proof.second, proof.second_signature, None)
    if not _conflict(first, second):
        raise PeerError("a fork proof of two entries that can stand together")
    return first.header.feed, first.header.seq


def _conflict(first: Entry, second: Entry) -> bool:
    same_place = (first.header.feed, first.header.seq) == (second.header.feed, second.header.seq)
    return same_place and first.id != second.id

"""Proofs that a site signed two entries for one place of a feed. Whoever writes one, it is true."""

from __future__ import annotations

from federation.entry import entry_id
from federation.errors import PeerError
from federation.feed import ForkProof, check_fork
from federation.records import Forked
from node.changes import FeedForked
from node.fold.shape import Refusal
from node.fold.step import Step


def note(step: Step, record: Forked) -> None:
    """Keep the proof. Raises Refusal for one that proves nothing."""
    proof = ForkProof(record.first, record.first_signature, record.second, record.second_signature)
    try:
        feed, seq = check_fork(proof)
    except PeerError as error:
        raise Refusal(f"no proof of a fork: {error}") from None
    ids = entry_id(record.first), entry_id(record.second)
    if ids[0] > ids[1]:
        raise Refusal("the entry with the smaller id comes first")
    step.conn.execute(
        "INSERT OR IGNORE INTO fork VALUES (?, ?, ?, ?, ?, ?, ?)",
        (feed.site, feed.generation, int(feed.lane), seq, *ids, step.entry),
    )
    if step.conn.changes():
        step.changes.append(FeedForked(feed.site, feed.generation))

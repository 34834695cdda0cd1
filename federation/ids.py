"""Names of things that travel: sites, entries, datasets, shards, feeds. All pure values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

SiteID = NewType("SiteID", bytes)  # 32 raw bytes of the site's Ed25519 public key
UserKey = NewType("UserKey", bytes)  # 32 raw bytes of a person's Ed25519 public key
EntryID = NewType("EntryID", bytes)  # BLAKE2b-256 of purpose prefix + header
ShardID = NewType("ShardID", bytes)  # BLAKE2b-256 of purpose prefix + founder + nonce
DatasetID = NewType("DatasetID", bytes)  # BLAKE2b-256 of purpose prefix + signed document
OrderID = NewType("OrderID", bytes)  # the same of a command's signed document
Place = tuple[int, int]  # of a record within a feed: (seq of its entry, index in the entry)


class Lane(IntEnum):
    """The two feeds of a site."""

    CONTROL = 0
    RESULTS = 1


@dataclass(frozen=True, slots=True)
class FeedID:
    """One hash-chained sequence of entries: its author, the author's generation, the lane."""

    site: SiteID
    generation: int
    lane: Lane


@dataclass(frozen=True, slots=True)
class EntryRef:
    """One entry, named on one branch only: feed, position (from 1) and id."""

    feed: FeedID
    seq: int
    id: EntryID

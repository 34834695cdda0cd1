"""What folding an entry changed, told to dispatch and to waiting requests after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from federation.ids import FeedID, ShardID, SiteID


@dataclass(frozen=True, slots=True)
class DatasetAdded:
    """A dataset entered the log; its tasks and counts are in the tables."""

    dataset: int  # local number


@dataclass(frozen=True, slots=True)
class DatasetChanged:
    """pause, resume, priority, needs, extend, retry, cancel, and those of READ_AGAIN: read the
    tables again."""

    dataset: int
    verb: str


# Verbs after which units may be settled no longer or wait for others, and the dataset may be gone.
READ_AGAIN: Final = frozenset({"anew", "reproduce", "renew", "move", "adopt", "linked"})


@dataclass(frozen=True, slots=True)
class UnitsGranted:
    """Units of these tasks (local task numbers) now belong to a site."""

    dataset: int
    tasks: Sequence[int]
    ranges: Sequence[int]  # flat half-open pairs
    to: SiteID


@dataclass(frozen=True, slots=True)
class UnitsReleased:
    """The owner of these units gave them back."""

    dataset: int
    tasks: Sequence[int]  # local task numbers
    ranges: Sequence[int]
    by: SiteID


@dataclass(frozen=True, slots=True)
class OutputsChanged:
    """What these units put out, as far as anybody remembers it, may not be what counts."""

    task: int  # local task number
    jobs: Sequence[int]


@dataclass(frozen=True, slots=True)
class UnitsSettled:
    """First successes, newly accepted; only units that were not settled before."""

    task: int  # local task number
    jobs: Sequence[int]


@dataclass(frozen=True, slots=True)
class UnitsFaulted:
    """Accepted attempts that were no success: (job, outcome) pairs as two columns."""

    task: int
    jobs: Sequence[int]
    outcomes: Sequence[int]


@dataclass(frozen=True, slots=True)
class UnitsFailed:
    """Units whose accepted payload failures now exceed their retries."""

    task: int
    jobs: Sequence[int]


@dataclass(frozen=True, slots=True)
class ResultsRefused:
    """A log passed by results of a site that do not count, as it had not granted those units."""

    dataset: int
    by: SiteID


@dataclass(frozen=True, slots=True)
class UserChanged:
    key: bytes


@dataclass(frozen=True, slots=True)
class FeedForked:
    """A site signed two entries for one place: nothing new of that generation counts."""

    site: SiteID
    generation: int


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """What a site's feeds say of members, or of itself, changed: read the tables again."""

    site: SiteID


@dataclass(frozen=True, slots=True)
class TermOpened:
    """A shard was founded, or a later term of it is the newest one that holds."""

    shard: ShardID
    term: int
    leader: FeedID


@dataclass(frozen=True, slots=True)
class ShardFolded:
    """The log of a shard with several voters was folded further: an ack of it may be due."""

    shard: ShardID


@dataclass(frozen=True, slots=True)
class ShardSettled:
    """The log of a shard is settled through an entry of the control feed of a term's leader."""

    shard: ShardID
    term: int
    leader: FeedID
    seq: int


Change = (
    DatasetAdded
    | DatasetChanged
    | OutputsChanged
    | UnitsGranted
    | UnitsReleased
    | UnitsSettled
    | UnitsFaulted
    | UnitsFailed
    | ResultsRefused
    | UserChanged
    | FeedForked
    | MembersChanged
    | TermOpened
    | ShardFolded
    | ShardSettled
)

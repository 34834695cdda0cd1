"""Small valid values for tests: records, feeds, entries."""

from __future__ import annotations

from federation.entry import Entry, seal
from federation.ids import DatasetID, EntryID, FeedID, Lane, ShardID, SiteID, UserKey
from federation.records import (
    Accept,
    Ack,
    Address,
    Adopt,
    Command,
    Dataset,
    Force,
    Forked,
    Found,
    FoundCouncil,
    Grant,
    Holds,
    Import,
    MemberAdd,
    MemberRemove,
    Move,
    Open,
    Policy,
    Record,
    Release,
    Reproduce,
    Results,
    SeatClose,
    Site,
    UserAdd,
    UserRemove,
    Vote,
)
from federation.shard import shard_id
from keys.identity import SiteKey

KEY = SiteKey(bytes(range(32)))
OTHER_KEY = SiteKey(bytes(range(1, 33)))
SITE = SiteID(KEY.site)
OTHER_SITE = SiteID(OTHER_KEY.site)
NONCE = bytes(range(16))
SHARD = ShardID(shard_id(SITE, NONCE))
DATASET = DatasetID(b"d" * 32)
PERSON = UserKey(b"p" * 32)
REF = [SITE, 1, 7, b"e" * 32]
CONTROL = FeedID(SITE, 1, Lane.CONTROL)
RESULTS = FeedID(SITE, 1, Lane.RESULTS)


def results(rows: int = 3, **changes: object) -> Results:
    """A record of `rows` successes, with `changes` to its fields."""
    values: dict[str, object] = {
        "dataset": DATASET,
        "task": 1,
        "jobs": list(range(10, 10 + rows)),
        "outcome": 0,
        "start_ms": 1_790_000_000_000,
        "offset_ms": [7 * row for row in range(rows)],
        "wall_ms": [100 + row for row in range(rows)],
        "cpu_ms": [90 + row for row in range(rows)],
        "memory_kib": [4096] * rows,
        "disk_kib": 0,
        "gpu_ms": 0,
        "hosts": ["worker1"],
        "host": 0,
        "exit": 0,
        "errors": [""],
        "error": 0,
        "outputs": [bytes([row % 256]) * 32 for row in range(rows)],
        "inputs": b"",
        "log": b"",
        "factors": [1000, 1000],
        "tails": [],
        **changes,
    }
    return Results(**values)  # type: ignore[arg-type]


def one_of_each() -> list[Record]:
    """A valid record of every kind."""
    signed = (b"{}", b"signature", PERSON)
    return [
        Site("desy", "0.1.0"),
        UserAdd(PERSON, "ana", ["icecube"], ["admin"], *signed),
        UserRemove(PERSON, *signed),
        Found(SHARD, NONCE, [SITE]),
        Dataset(SHARD, *signed),
        Command(SHARD, *signed),
        Grant(SHARD, DATASET, [0, 1], [0, 100, 200, 250], SITE),
        Accept(SHARD, SITE, 1, 7, EntryID(b"e" * 32)),
        Release(SHARD, DATASET, [1], [5, 6], "drained"),
        Force(SHARD, 2, 7, EntryID(b"e" * 32), *signed),
        MemberAdd(OTHER_SITE, "desy", ["desy.example.org:7421"], *signed, b"s" * 32),
        MemberRemove(OTHER_SITE, *signed),
        Policy(*signed),
        Address(["desy.example.org:7421", "[2001:db8::1]:7421"]),
        Forked(b"header", b"1" * 64, b"other", b"2" * 64),
        Open(SHARD, 3, [REF, [OTHER_SITE, 1, 9, b"f" * 32]], 2, 7, EntryID(b"e" * 32)),
        Import(SHARD, DATASET, 1, [0, 10], ShardID(b"o" * 32), REF, [REF]),
        Reproduce(SHARD, DATASET, [0], [3, 4]),
        Move(SHARD, DATASET, ShardID(b"o" * 32)),
        Adopt(SHARD, DATASET, ShardID(b"o" * 32), REF, [REF]),
        SeatClose(SHARD, OTHER_SITE, 1, 7, EntryID(b"e" * 32)),
        Ack(SHARD, 0, SITE, 1, 7, EntryID(b"e" * 32)),
        Vote(SHARD, 3, OTHER_SITE, 2, 7, EntryID(b"e" * 32)),
        FoundCouncil(SHARD, NONCE, [SITE, OTHER_SITE, SiteID(b"3" * 32)], [1, 1, 2]),
        Holds(DATASET, 1, [3, 5], [b"h" * 32, b""]),
        results(),
        results(
            2,
            outcome=[0, 1],
            exit=[0, -9],
            errors=["", "signal"],
            error=[0, 1],
            tails=[[1, "Killed\n"]],
        ),
    ]


def chain(count: int, feed: FeedID = CONTROL, key: SiteKey = KEY) -> list[Entry]:
    """The first entries of a feed."""
    entries: list[Entry] = []
    for seq in range(1, count + 1):
        prev = entries[-1].id if entries else b""
        entries.append(seal(key, feed, seq, prev, seq << 16, [Site("desy", f"0.{seq}")]))
    return entries

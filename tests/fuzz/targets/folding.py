"""Entries whose author signed whatever it liked, into the tables: the fold foresees all of it."""

from __future__ import annotations

import re
import zlib
from functools import cache

import apsw
import msgpack

from federation import codec, limits
from federation.entry import Entry, seal_encoded
from federation.errors import PeerError
from federation.ids import DatasetID, EntryID, FeedID, Lane, SiteID, UserKey
from federation.records import (
    Accept,
    Ack,
    Address,
    Command,
    Dataset,
    Found,
    FoundCouncil,
    Grant,
    Holds,
    Move,
    Open,
    Record,
    Release,
    Reproduce,
    Results,
    SeatClose,
    Site,
    Unknown,
    UserAdd,
    Vote,
    encode,
)
from federation.shard import shard_id
from keys.signing import Purpose, digest
from node.fold import Fold
from node.model.commands import command_document, read_command
from node.model.person import PersonOrder, write_person
from node.model.validate import read_submission
from tests.fuzz.forms import MSGPACK
from tests.fuzz.target import Target
from tests.unit.federation.builders import OTHER_SITE, one_of_each
from tests.unit.node.fold.world import ANA, Log, database, insert, results
from tests.unit.node.http.people import ANA as PERSON
from tests.unit.node.model.drafts import built, small

# An exception's name stands before its words where the fold met one that nobody foresaw.
_UNFORESEEN = re.compile(r"[A-Z]\w*(Error|Exception|Interrupt|Iteration)\b")
NONCE = bytes(16)


def _log() -> Log:
    return Log.new(b"f" * 32)


@cache
def _document() -> bytes:
    tasks = [
        {"name": "sim", "outputs": ["a.npz"], "module": [{"run": ["true", "{job}"]}]},
        {"name": "reco", "after": ["sim"], "module": [{"run": ["true"]}]},
    ]
    return built(small(jobs=20, task=tasks)).document


@cache
def _dataset() -> DatasetID:
    return DatasetID(digest(Purpose.DATASET, _document()))


class Story:
    """A site that leads a dataset of which some ran; each input is its next entries, and undone."""

    def __init__(self) -> None:
        self.log = _log()
        self.conn: apsw.Connection = database()
        self.fold = self._fold()
        self.log.control(Site("desy", "1"))
        self.log.found()
        self.log.submit(_document())
        self.log.grant(_dataset(), [0, 1], [0, 10])
        self.log.results(results(_dataset(), 0, range(5)))
        for entry in self.log.entries:
            self.take(entry)

    def _fold(self) -> Fold:
        site = SiteID(_log().site)
        return Fold(site, read_submission, read_command, lambda document, signature: signature)

    def take(self, entry: Entry) -> None:
        self.fold.apply(self.conn, entry.ref, insert(self.conn, entry), entry.records())
        for _ in range(100):
            if not self.fold.behind(self.conn):
                return
            self.fold.go_on(self.conn)
        raise AssertionError("the fold goes on for ever")

    def wrong(self) -> list[str]:
        """What the fold met and did not foresee."""
        sql = (
            "SELECT why FROM refused UNION ALL SELECT quarantined FROM dataset"
            " WHERE quarantined IS NOT NULL UNION ALL SELECT why FROM quarantine"
        )
        return [why for (why,) in self.conn.execute(sql) if _UNFORESEEN.match(why)]


@cache
def _stories() -> list[Story]:
    return [Story()]


def read_entries(data: bytes) -> int:
    """Fold the records as the next entries of the leader, those of results accepted; how many."""
    items = codec.split_array(data, bytes_max=limits.ENTRY_BODY_BYTES_MAX)
    if not items:
        raise PeerError("no records")
    [story] = _stories()
    conn = story.conn
    conn.execute("SAVEPOINT fuzzed")
    try:
        for entry in _sealed(items):
            story.take(entry)
        wrong = story.wrong()
        assert not wrong, wrong[0]
    finally:
        conn.execute("ROLLBACK TO fuzzed; RELEASE fuzzed")
        story.fold = story._fold()
    return len(items)


def _sealed(items: list[bytes]) -> list[Entry]:
    """Results, their accept, and an entry with the other records."""
    log, tips = _log(), dict(_stories()[0].log.tips)
    bulk, others = list[bytes](), list[bytes]()
    for item in items[: limits.ENTRY_RECORDS_MAX]:
        (bulk if _is_bulk(item) else others).append(item)
    made = []
    if bulk:
        made.append(_next(log, tips, Lane.RESULTS, bulk))
        seq, id_ = tips[Lane.RESULTS]
        accept = Accept(log.shard, log.site, 1, seq, EntryID(id_))
        made.append(_next(log, tips, Lane.CONTROL, [encode(accept)]))
    if others:
        made.append(_next(log, tips, Lane.CONTROL, others))
    return made


def _is_bulk(item: bytes) -> bool:
    record = codec.unpack_shallow(item, bytes_max=len(item))
    return type(record) is list and record[:1] in ([Results.kind], [Holds.kind])


def _next(log: Log, tips: dict[Lane, tuple[int, bytes]], lane: Lane, items: list[bytes]) -> Entry:
    seq, prev = tips[lane]
    entry = seal_encoded(log.key, FeedID(log.site, 1, lane), seq + 1, prev, seq << 20, items)
    tips[lane] = (seq + 1, entry.id)
    return entry


def _records() -> list[Record]:
    log, dataset = _log(), _dataset()
    shard, own = log.shard, log.site
    order = {
        "pause": {},
        "cancel": {"select": {"jobs": [0, 3]}},
        "retry": {},
        "renew": {},
        "extend": {"jobs": 5},
    }
    commands: list[Record] = [
        Command(shard, command_document(dataset, verb, args, [], NONCE), ANA, ANA)
        for verb, args in order.items()
    ]
    document = write_person(
        PersonOrder("user.add", own, PERSON.key, "ana", ("physics",), ("admin",), NONCE.hex())
    )
    key = UserKey(PERSON.key.raw)
    again = built(small(name="again")).document
    head = EntryID(b"e" * 32)
    council = shard_id(own, b"n" * 16)
    return [
        *commands,
        Dataset(shard, zlib.compress(again), ANA, ANA),
        Grant(shard, dataset, [0, 1], [10, 20], OTHER_SITE),
        Release(shard, dataset, [0], [5, 8], "drained"),
        Accept(shard, own, 1, 1, head),
        Reproduce(shard, dataset, [0], [0, 2]),
        Move(shard, dataset, council),
        SeatClose(shard, OTHER_SITE, 1, 0, EntryID(b"")),
        Found(council, b"n" * 16, [own]),
        FoundCouncil(council, b"n" * 16, [own, OTHER_SITE, SiteID(b"3" * 32)], [1, 1, 1]),
        Ack(shard, 0, own, 1, 2, head),
        Vote(shard, 1, own, 0, 2, head),
        Open(shard, 1, [[own, 1, 2, head]], 0, 2, head),
        UserAdd(key, "ana", ["physics"], ["admin"], document, PERSON.sign(document), key),
        Address(["desy.example:7421"]),
        Site("desy", "2"),
        Unknown(999, msgpack.packb([999, {"a": [1]}])),
    ]


def _bulk() -> dict[str, Record]:
    dataset = _dataset()
    return {
        "successes": results(dataset, 0, range(5, 10)),
        "failures": results(dataset, 0, [5, 6], 1, error="exit", exit=1),
        "again": results(dataset, 0, [0, 1]),
        "second task": results(dataset, 1, range(3)),
        "mixed": results(dataset, 0, [5, 6, 7], [0, 2, 3], error="memory"),
        "holds": Holds(dataset, 0, [0, 1], [b"h" * 32, b""]),
    }


def _seeds() -> dict[str, bytes]:
    every = {f"{type(each).__name__} {n}": each for n, each in enumerate(_records())}
    bulk = {f"results of {name}": each for name, each in _bulk().items()}
    others = {f"other {type(each).__name__} {n}": each for n, each in enumerate(one_of_each())}
    seeds = {
        name: codec.pack_array([encode(each)]) for name, each in (every | bulk | others).items()
    }
    seeds["all"] = codec.pack_array([encode(each) for each in [*_records(), *_bulk().values()]])
    return seeds


TARGETS = (
    Target(
        "folded-entries",
        read_entries,
        (PeerError,),
        _seeds,
        MSGPACK,
        bytes_max=limits.ENTRY_BODY_BYTES_MAX,
    ),
)

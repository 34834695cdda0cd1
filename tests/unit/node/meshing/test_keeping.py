"""Stored on k sites: who answers has the record and the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from federation.errors import RemoteRefused
from federation.ids import DatasetID, ShardID, SiteID
from node.changes import DatasetAdded
from node.fold import Fold
from node.meshing.files import RemoteFiles
from node.meshing.fileserver import FileServer
from node.meshing.keeping import AGAIN_S, KEEP, RECORD_S_MAX, Keeper, Storing
from node.meshing.stored import MAJORITY_S, StoredOn
from node.model.commands import read_command
from node.model.document import load
from node.model.validate import read_submission
from node.store.blobs import Blobs
from tests.fakes.requests import Exchange
from tests.unit.node.fold.world import Log, database, fold_into
from tests.unit.node.work.house import result_of

TAKER, OTHER = SiteID(b"t" * 32), SiteID(b"o" * 32)
SCRIPT = b"#!/bin/sh\nexit 0\n"


class Home:
    """One site's tables and blobs."""

    def __init__(self, folder: Path) -> None:
        self.blobs = Blobs(folder)
        self.conn = database()

    def read(self, fn: Any) -> Deferred[Any]:
        return maybeDeferred(fn, self.conn)


class Mesh:
    """`taker` took a dataset with a script; `other` has neither record nor script yet."""

    def __init__(self, folder: Path) -> None:
        (folder / "run.sh").write_bytes(SCRIPT)
        (folder / "run.sh").chmod(0o755)
        self.clock, self.exchange = Clock(), Exchange()
        self.taker, self.other = Home(folder / "taker"), Home(folder / "other")
        self.log = Log.new()
        self.log.found()
        description = {
            "floe": 1, "name": "d", "files": ["run.sh"],
            "task": [{"name": "t", "module": [{"run": ["./run.sh"]}]}],
        }  # fmt: skip
        document = load(description, folder).build(None, bytes(16)).document
        self.dataset = DatasetID(self.log.submit(document))
        self.digest = self.taker.blobs.put(SCRIPT)
        self.by = Fold(SiteID(b""), read_submission, read_command, lambda document, by: by)
        self.arrive(self.taker)
        FileServer(self.taker.read, self.taker.blobs, maybeDeferred).serve(self.exchange.of(TAKER))
        files = RemoteFiles(self.exchange.of(OTHER), self.other.blobs, maybeDeferred)
        self.keeper = Keeper(self.clock, self.other.read, files)
        self.keeper.serve(self.exchange.of(OTHER))
        self.storing = Storing(self.clock, self.exchange.of(TAKER))

    def arrive(self, home: Home) -> None:
        """The log comes to a site."""
        fold_into(home.conn, self.log.entries, self.by)

    def ask(self) -> Deferred[bytes]:
        return self.exchange.of(TAKER).request(OTHER, KEEP, self.dataset)

    def keep(self, wanted: int = 1, timeout_s: float = 5.0) -> Deferred[list[SiteID]]:
        return Deferred.fromCoroutine(self.storing.keep(self.dataset, [OTHER], wanted, timeout_s))

    def close(self) -> None:
        self.taker.blobs.close()
        self.other.blobs.close()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    found = Mesh(tmp_path)
    yield found
    found.close()


def test_a_keeper_answers_once_record_and_files_are_here(mesh: Mesh) -> None:
    mesh.arrive(mesh.other)
    assert result_of(mesh.ask()) == b""
    assert mesh.other.blobs.get(mesh.digest) == SCRIPT


def test_a_keeper_waits_for_a_record_that_is_on_its_way(mesh: Mesh) -> None:
    asked = mesh.ask()
    assert not asked.called
    mesh.arrive(mesh.other)
    mesh.keeper.changed([DatasetAdded(1)])
    assert result_of(asked) == b""


def test_a_keeper_gives_up_on_a_record_that_does_not_come(mesh: Mesh) -> None:
    asked = mesh.ask()
    mesh.clock.advance(RECORD_S_MAX)
    with pytest.raises(RemoteRefused, match="has not come here yet"):
        result_of(asked)
    assert mesh.other.blobs.missing([mesh.digest]) == [mesh.digest]


def test_a_keeper_without_the_files_does_not_say_that_it_keeps_them(mesh: Mesh) -> None:
    mesh.arrive(mesh.other)
    mesh.exchange.cut[TAKER] = 9
    with pytest.raises(RemoteRefused, match="not to be had"):
        result_of(mesh.ask())


def test_storing_names_who_keeps_it(mesh: Mesh) -> None:
    mesh.arrive(mesh.other)
    assert result_of(mesh.keep()) == [OTHER]


def test_storing_asks_again_until_the_time_is_over(mesh: Mesh) -> None:
    mesh.arrive(mesh.other)
    mesh.exchange.cut[OTHER] = 2
    kept = mesh.keep()
    assert not kept.called
    mesh.clock.advance(AGAIN_S)
    assert not kept.called
    mesh.clock.advance(AGAIN_S)
    assert result_of(kept) == [OTHER]
    assert not mesh.clock.getDelayedCalls()


def test_storing_says_honestly_that_nobody_keeps_it(mesh: Mesh) -> None:
    mesh.exchange.cut[OTHER] = 99
    kept = mesh.keep(timeout_s=2.5)
    for _ in range(5):
        mesh.clock.advance(AGAIN_S / 2)
    assert result_of(kept) == []


def test_a_site_that_is_alone_asks_nobody(mesh: Mesh) -> None:
    done = Deferred.fromCoroutine(mesh.storing.keep(mesh.dataset, [], 1, 5.0))
    assert result_of(done) == []


class Four:
    """A mesh of four sites, three of them in the council."""

    def __init__(self) -> None:
        self.sites = [SiteID(bytes([65 + number]) * 32) for number in range(4)]

    def members(self) -> list[SiteID]:
        return self.sites

    def is_member(self, site: SiteID) -> bool:
        return site in self.sites

    def revoked(self, site: SiteID) -> bool:
        return False

    def addresses(self, site: SiteID) -> list[str]:
        return []

    def subscribe(self, fn: Any) -> None:
        raise AssertionError


class Answering:
    """Requests that some sites answer at once, and others never."""

    def __init__(self, sites: list[SiteID]) -> None:
        self.sites = sites
        self.asked: list[SiteID] = []

    def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
        self.asked.append(site)
        return maybeDeferred(bytes) if site in self.sites else Deferred()

    def serve(self, kind: str, handler: Any) -> None:
        raise AssertionError


def stored(four: Four, requests: Answering, clock: Clock, wanted: int | None = None) -> Any:
    by = StoredOn(
        four.sites[0], four, lambda shard: four.sites[:3], Storing(clock, requests),
        lambda site: site.decode()[0],
    )  # fmt: skip
    return Deferred.fromCoroutine(by(DatasetID(b"d" * 32), ShardID(b"s" * 32), wanted))


def test_a_submission_waits_for_a_majority_of_the_council() -> None:
    four, clock = Four(), Clock()
    requests = Answering([four.sites[2]])
    assert result_of(stored(four, requests, clock)) == ["A", "C"]
    assert requests.asked == four.sites[1:3]


def test_a_submission_waits_five_seconds_and_then_says_what_is() -> None:
    four, clock = Four(), Clock()
    waiting = stored(four, Answering([]), clock)
    clock.advance(MAJORITY_S)
    assert result_of(waiting) == ["A"]


def test_more_copies_than_a_council_has_seats_are_asked_of_other_members() -> None:
    four, clock = Four(), Clock()
    waiting = stored(four, Answering(four.sites), clock, wanted=4)
    assert result_of(waiting) == ["A", "B", "C", "D"]

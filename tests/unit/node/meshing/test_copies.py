"""Outputs are kept at two sites: by whom, when, and what happens when their maker is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from federation.ids import EntryID, SiteID
from federation.records import Holds, Record
from node.meshing.copies import AGAIN_S, GATHER_S, Copies
from node.meshing.files import RemoteFiles
from node.meshing.fileserver import FileServer
from node.meshing.second import made_in, second_site
from node.store.blobs import Blobs
from tests.fakes.requests import Exchange
from tests.unit.node.fold.world import Log, database, document, fold_into, results

HERE = SiteID(b"h" * 32)
sites = st.lists(st.binary(min_size=32, max_size=32).map(SiteID), min_size=1, unique=True)


class Notes:
    """A journal that writes what it is given at once."""

    def __init__(self, conn: apsw.Connection) -> None:
        self.conn = conn
        self.records: list[Record] = []

    def results(self, record: Record, local: Any = None) -> Deferred[None]:
        self.records.append(record)
        return succeed(None)

    def local(self, fn: Any, *, in_order: bool = False) -> Deferred[None]:
        with self.conn:
            fn(self.conn)
        return succeed(None)


class Mesh:
    """`maker` makes outputs; this site is the only other one."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.exchange, self.conn = Clock(), Exchange(), database()
        self.there, self.here = Blobs(folder / "there", grace_s=0.0), Blobs(folder / "here")
        self.maker = Log.new()
        self.maker.found()
        self.dataset = self.maker.submit(document("d", jobs=9))
        self.maker.grant(self.dataset, [0], [0, 9])
        FileServer(self.read, self.there, maybeDeferred).serve(self.exchange.of(self.maker.site))
        self.journal = Notes(self.conn)
        self.alive = [HERE, self.maker.site]
        self.restart()

    def restart(self) -> None:
        files = RemoteFiles(self.exchange.of(HERE), self.here, maybeDeferred)
        self.copies = Copies(
            self.clock, HERE, self.journal, self.read, self.here, files, maybeDeferred,
            lambda: self.alive,
        )  # fmt: skip

    def read(self, fn: Any) -> Deferred[Any]:
        return maybeDeferred(fn, self.conn)

    def make(self, job: int, content: bytes, outcome: int = 0) -> bytes:
        """A unit ran at the maker, and its entry came here; the digest of its output."""
        digest = self.there.put(content)
        entry = {"path": "o", "digest": digest.hex(), "size": len(content), "mode": 0o644}
        listing = self.there.put(json.dumps([entry]).encode())
        made = self.maker.results(
            results(self.dataset, 0, [job], outcome, error="exit", outputs=listing)
        )
        fold_into(self.conn, self.maker.entries)
        self.maker.entries.clear()
        self.copies.arrived([made])
        return digest

    def held(self) -> list[int]:
        return [
            job for each in self.journal.records if isinstance(each, Holds) for job in each.jobs
        ]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    found = Mesh(tmp_path)
    yield found
    found.copies.stop()
    found.there.close()
    found.here.close()


def test_outputs_of_another_site_are_brought_and_said_to_be_held(mesh: Mesh) -> None:
    digests = [mesh.make(job, b"output %d" % job) for job in range(3)]
    mesh.clock.advance(GATHER_S)
    assert mesh.here.missing(digests) == []
    assert mesh.held() == [0, 1, 2]


def test_outputs_that_another_site_keeps_are_left_to_it(mesh: Mesh) -> None:
    third = SiteID(b"t" * 32)
    mesh.alive.append(third)
    for job in range(9):
        mesh.make(job, b"output %d" % job)
    mesh.clock.advance(GATHER_S)
    assert 0 < len(mesh.held()) < 9


def test_an_attempt_that_was_no_success_leaves_nothing_to_keep(mesh: Mesh) -> None:
    digest = mesh.make(0, b"half of it", outcome=1)
    mesh.clock.advance(GATHER_S)
    assert mesh.here.missing([digest]) == [digest]
    assert mesh.held() == []


def test_a_maker_that_is_away_is_asked_again_later(mesh: Mesh) -> None:
    mesh.exchange.cut[mesh.maker.site] = 1
    mesh.make(0, b"output")
    mesh.clock.advance(GATHER_S)
    assert mesh.held() == []
    mesh.clock.advance(AGAIN_S)
    assert mesh.held() == [0]


def test_nothing_is_looked_through_twice_after_a_restart(mesh: Mesh) -> None:
    mesh.make(0, b"output")
    mesh.clock.advance(GATHER_S)
    asked = len(mesh.exchange.asked)
    mesh.copies.stop()
    mesh.restart()
    mesh.copies.start()
    mesh.clock.advance(GATHER_S)
    assert mesh.held() == [0]
    assert len(mesh.exchange.asked) == asked


def test_what_a_crash_left_is_gone_on_with(mesh: Mesh) -> None:
    mesh.make(0, b"output")
    mesh.copies.stop()
    mesh.restart()
    mesh.copies.start()
    mesh.clock.advance(GATHER_S)
    assert mesh.held() == [0]


def test_an_output_that_its_maker_lost_holds_up_nothing(mesh: Mesh) -> None:
    lost = mesh.make(0, b"lost")
    mesh.there.sweep(digest for digest, _ in list(mesh.there.all()) if digest != lost)
    mesh.make(1, b"kept")
    mesh.clock.advance(GATHER_S)
    assert mesh.held() == [1]


@given(st.binary(min_size=32, max_size=32).map(EntryID), sites, st.randoms())
def test_every_site_names_the_same_keeper_and_never_the_author(
    entry: EntryID, sites: list[SiteID], random: Any
) -> None:
    author = sites[0]
    shuffled = random.sample(sites, len(sites))
    keeper = second_site(entry, author, sites)
    assert second_site(entry, author, shuffled) == keeper != author
    assert (keeper is None) == (len(sites) == 1)


@given(st.binary(min_size=32, max_size=32).map(EntryID), sites)
def test_when_a_site_goes_only_its_entries_go_to_others(
    entry: EntryID, sites: list[SiteID]
) -> None:
    author, *others = sites
    keeper = second_site(entry, author, sites)
    for gone in others:
        if gone != keeper:
            left = [site for site in sites if site != gone]
            assert second_site(entry, author, left) == keeper


def test_units_are_named_with_their_own_lists() -> None:
    log = Log.new()
    made = results(
        b"d" * 32, 1, [4, 5, 6], [0, 1, 0], error="exit", outputs=[b"a" * 32, b"b" * 32, b""]
    )
    [found] = made_in(log.results(made, accept=False))
    assert (found.jobs, found.lists) == ((4,), (b"a" * 32,))

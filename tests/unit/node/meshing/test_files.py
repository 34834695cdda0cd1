"""Files come from other sites by name, in pieces, resumed and verified."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from federation.ids import DatasetID, SiteID
from node.meshing.filenames import PIECE_BYTES_MAX, OfAttempt, OfDataset, Piece, write_piece
from node.meshing.files import NotBrought, RemoteFiles, Wanted
from node.meshing.fileserver import KIND, KIND_MANY, FileServer
from node.store.blobs import Blobs, digest_of
from tests.fakes.requests import Exchange
from tests.unit.node.fold.world import Log, database, document, fold_into, results
from tests.unit.node.work.house import result_of

HERE, GONE = SiteID(b"h" * 32), SiteID(b"g" * 32)
BIG = os.urandom(2 * PIECE_BYTES_MAX + 1)


class Maker:
    """Another site, which ran unit 0 of a dataset and keeps its log and one output."""

    def __init__(self, folder: Path, exchange: Exchange) -> None:
        self.blobs = Blobs(folder)
        self.conn = database()
        log = Log.new()
        log.found()
        self.site = log.site
        self.dataset = DatasetID(log.submit(document("d", jobs=2)))
        log.grant(self.dataset, [0], [0, 2])
        self.output = self.blobs.put(BIG)
        listing = [{"path": "o", "digest": self.output.hex(), "size": len(BIG), "mode": 0o644}]
        self.list = self.blobs.put(json.dumps(listing).encode())
        self.log = self.blobs.put(b"what it printed")
        self.secret = self.blobs.put(b"of another unit")
        made = results(self.dataset, 0, [0], outputs=self.list, log=self.log)
        other = results(self.dataset, 0, [1], log=self.secret)
        self.entry = log.results(made, other).ref
        fold_into(self.conn, log.entries)
        server = FileServer(self.read, self.blobs, maybeDeferred)
        server.serve(exchange.of(self.site))

    def read(self, fn: Any) -> Deferred[Any]:
        return maybeDeferred(fn, self.conn)

    def name(self, job: int = 0) -> OfAttempt:
        return OfAttempt(self.dataset, 0, job, self.entry)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def maker(tmp_path: Path, exchange: Exchange) -> Iterator[Maker]:
    found = Maker(tmp_path / "maker", exchange)
    yield found
    found.blobs.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[Blobs]:
    found = Blobs(tmp_path / "here")
    yield found
    found.close()


@pytest.fixture
def files(exchange: Exchange, blobs: Blobs) -> RemoteFiles:
    return RemoteFiles(exchange.of(HERE), blobs, maybeDeferred)


def bring(files: RemoteFiles, *wanted: Wanted) -> dict[bytes, str]:
    found: dict[bytes, str] = result_of(Deferred.fromCoroutine(files.bring(wanted)))
    return found


def test_a_large_file_comes_in_pieces(files: RemoteFiles, maker: Maker, blobs: Blobs) -> None:
    assert bring(files, Wanted(maker.output, maker.name(), [maker.site])) == {}
    assert blobs.get(maker.output) == BIG


def test_what_came_before_a_link_broke_is_not_asked_for_again(
    files: RemoteFiles, maker: Maker, blobs: Blobs, exchange: Exchange
) -> None:
    blobs.append(maker.output, 0, BIG[:PIECE_BYTES_MAX])
    bring(files, Wanted(maker.output, maker.name(), [maker.site]))
    first = write_piece(Piece(maker.name(), maker.output, PIECE_BYTES_MAX))
    assert exchange.asked[0][2] == first
    assert blobs.get(maker.output) == BIG


def test_pieces_that_are_no_beginning_of_the_file_are_dropped(
    files: RemoteFiles, maker: Maker, blobs: Blobs
) -> None:
    blobs.append(maker.log, 0, b"much more than the file has")
    assert bring(files, Wanted(maker.log, maker.name(), [maker.site])) == {}
    assert blobs.get(maker.log) == b"what it printed"


def test_the_next_site_is_asked_when_one_is_away(
    files: RemoteFiles, maker: Maker, blobs: Blobs, exchange: Exchange
) -> None:
    exchange.cut[GONE] = 9
    assert bring(files, Wanted(maker.log, maker.name(), [GONE, maker.site])) == {}
    assert blobs.get(maker.log) == b"what it printed"


def test_a_file_that_nobody_gives_says_whom_we_asked(
    files: RemoteFiles, maker: Maker, exchange: Exchange
) -> None:
    exchange.cut[maker.site] = 9
    failed = bring(files, Wanted(maker.log, maker.name(), [maker.site]))
    assert f"{maker.site.hex()[:8]}: no link leads to" in failed[maker.log]
    with pytest.raises(NotBrought, match="no site is known"):
        result_of(Deferred.fromCoroutine(files.have(Wanted(b"x" * 32, maker.name(), []))))


def test_altered_bytes_are_not_taken(
    files: RemoteFiles, maker: Maker, blobs: Blobs, exchange: Exchange
) -> None:
    exchange.change = lambda answer: answer[:-1] + b"!"
    failed = bring(files, Wanted(maker.log, maker.name(), [maker.site]))
    assert "arrived as" in failed[maker.log]
    assert blobs.missing([maker.log]) == [maker.log]


def test_a_name_opens_its_own_files_only(files: RemoteFiles, maker: Maker) -> None:
    failed = bring(files, Wanted(maker.secret, maker.name(0), [maker.site]))
    assert "that name opens no such file here" in failed[maker.secret]
    assert bring(files, Wanted(maker.secret, maker.name(1), [maker.site])) == {}


def test_a_dataset_that_is_not_known_there_opens_nothing(files: RemoteFiles, maker: Maker) -> None:
    name = OfDataset(DatasetID(b"?" * 32))
    failed = bring(files, Wanted(maker.log, name, [maker.site]))
    assert "not known here yet" in failed[maker.log]


def test_whoever_wants_a_file_that_is_on_its_way_waits_for_it(
    maker: Maker, blobs: Blobs, exchange: Exchange
) -> None:
    held: list[Deferred[bytes]] = []

    class Slow:
        def request(self, site: SiteID, kind: str, body: bytes) -> Deferred[bytes]:
            held.append(Deferred())
            return held[-1]

        def serve(self, kind: str, handler: Any) -> None:
            raise AssertionError

    files = RemoteFiles(Slow(), blobs, maybeDeferred)
    wanted = Wanted(maker.log, maker.name(), [maker.site])
    both = [Deferred.fromCoroutine(files.bring([wanted])) for _ in range(2)]
    assert len(held) == 1
    body = write_piece(Piece(maker.name(), maker.log, 0))
    exchange.of(HERE).request(maker.site, KIND, body).chainDeferred(held[0])
    assert [result_of(each) for each in both] == [{}, {}]


def test_digests_of_the_same_content_are_brought_once(
    files: RemoteFiles, maker: Maker, exchange: Exchange
) -> None:
    wanted = Wanted(maker.log, maker.name(), [maker.site])
    bring(files, wanted, wanted)
    bring(files, wanted)
    assert len(exchange.asked) == 1
    assert digest_of(b"what it printed") == maker.log


def test_many_small_files_come_with_one_question(
    files: RemoteFiles, maker: Maker, blobs: Blobs, exchange: Exchange
) -> None:
    names = [(maker.log, 0), (maker.list, 0), (maker.secret, 1)]
    wanted = [Wanted(digest, maker.name(job), [maker.site]) for digest, job in names]
    assert bring(files, *wanted) == {}
    assert [kind for _, kind, _ in exchange.asked] == [KIND_MANY]
    assert blobs.missing([digest for digest, _ in names]) == []


def test_among_many_files_a_large_one_comes_by_itself_and_a_foreign_one_not_at_all(
    files: RemoteFiles, maker: Maker, blobs: Blobs
) -> None:
    wanted = [
        Wanted(digest, maker.name(0), [maker.site])
        for digest in (maker.log, maker.output, maker.secret)
    ]
    assert list(bring(files, *wanted)) == [maker.secret]
    assert blobs.get(maker.output) == BIG
    assert blobs.missing([maker.log]) == []


def test_a_false_file_among_many_stays_missing(
    files: RemoteFiles, maker: Maker, blobs: Blobs, exchange: Exchange
) -> None:
    exchange.change = lambda answer: answer.replace(b"printed", b"PRINTED")
    wanted = [
        Wanted(digest, maker.name(job), [maker.site])
        for digest, job in ((maker.log, 0), (maker.secret, 1))
    ]
    assert list(bring(files, *wanted)) == [maker.log]
    assert blobs.get(maker.secret) == b"of another unit"


def test_what_is_listed_opens_once_the_list_has_come(
    files: RemoteFiles, maker: Maker, exchange: Exchange, tmp_path: Path
) -> None:
    second = Blobs(tmp_path / "second")
    other = SiteID(b"s" * 32)
    FileServer(maker.read, second, maybeDeferred).serve(exchange.of(other))
    wanted = Wanted(maker.output, maker.name(), [other])
    assert "opens no such file" in bring(files, wanted)[maker.output]
    second.put(maker.blobs.get(maker.list))
    second.put(BIG)
    assert bring(files, wanted) == {}
    second.close()


def test_whether_a_file_is_kept_is_asked_without_bringing_it(
    files: RemoteFiles, maker: Maker, blobs: Blobs, exchange: Exchange
) -> None:
    def kept(digest: bytes, *sites: SiteID) -> bool:
        wanted = Wanted(digest, maker.name(), sites)
        return bool(result_of(Deferred.fromCoroutine(files.is_kept(wanted))))

    assert kept(maker.output, maker.site)
    assert blobs.missing([maker.output]) == [maker.output]
    assert not kept(maker.secret, maker.site)
    assert not kept(maker.output, GONE)  # it says that it has nothing of it
    exchange.cut[GONE] = 1
    assert kept(maker.output, GONE)  # it may be there
    blobs.put(BIG)
    assert kept(maker.output)

"""A site with a real store and real links: feeds ahead elsewhere, forked, damaged, run twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from federation.entry import Entry, seal
from federation.feed import ForkProof, check_fork, prove_fork
from federation.ids import FeedID, Lane, SiteID
from federation.mesh import Mesh
from federation.records import Forked, Site
from keys.identity import SiteKey
from node.fold import Fold
from node.meshing.feedcare import TWIN_S, FeedCare
from node.store.feeds import Feeds
from tests.fakes.mesh import key_of
from tests.fakes.meshed import MeshedSite, Registry
from tests.fakes.store import Store
from tests.unit.federation.worlds import World, a_world

KEPT = 9


class KeptSite:
    """One life of a site on a home."""

    def __init__(
        self, world: World, home: Path, boot: int = 1, number: int = KEPT, *, shared: bool = False
    ) -> None:
        self.world, self.key = world, key_of(number)
        self.id = SiteID(self.key.site)
        fold = Fold(self.id, lambda text: 1 / 0, lambda text: 1 / 0)  # type: ignore[arg-type, return-value]
        self.store = Store(home, key=self.key, fold=fold, clock=world.loop.reactor)
        self.journal = self.store.journal
        self.mesh = Mesh(
            world.loop.reactor, self.key, Feeds(self.store.database.writer), self.journal,
            world.members, Random(number), boot=boot, listen=("127.0.0.1", 0),
        )  # fmt: skip
        self.mesh.writing = self.store.found.generation
        self.care = FeedCare(
            world.loop.reactor, self.mesh, self.journal, self.store.database.writer,
            self.feed if shared else None,
        )  # fmt: skip
        self.journal.subscribe(self.care.changed)
        self.journal.subscribe_durable(self.mesh.durable)

    @property
    def feed(self) -> FeedID:
        return FeedID(self.id, self.store.found.generation, Lane.CONTROL)

    def join(self) -> KeptSite:
        self.care.start()
        self.mesh.start()
        self.world.members.admit(self.id, [f"127.0.0.1:{self.mesh.port}"])
        return self

    def write(self) -> None:
        self.world.loop.result(self.journal.control(Site("kept", "1")))

    def entries(self, feed: FeedID) -> list[Entry]:
        return self.store.feeds.entries(feed)

    def stop(self) -> None:
        self.care.stop()
        self.world.loop.result(self.mesh.stop())
        self.world.loop.result(self.journal.close())
        self.store.database.close()


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def written(key: SiteKey, count: int, name: str = "s", generation: int = 1) -> list[Entry]:
    """The first entries of a control feed."""
    made: list[Entry] = []
    for seq in range(1, count + 1):
        prev = made[-1].id if made else b""
        feed = FeedID(SiteID(key.site), generation, Lane.CONTROL)
        made.append(seal(key, feed, seq, prev, seq, [Site(name, str(seq))]))
    return made


def holding(site: MeshedSite, entries: list[Entry]) -> MeshedSite:
    site.feeds.append(entries)
    return site


@pytest.mark.parametrize("generation", [1, 4])
def test_a_peer_that_holds_later_entries_of_this_site_ends_its_writing(
    world: World, tmp_path: Path, generation: int
) -> None:
    peer = holding(world.site(1), written(key_of(KEPT), 3, generation=generation)).join()
    kept = KeptSite(world, tmp_path / "home").join()
    told: list[str] = []
    kept.journal.on_outlived(told.append)
    world.loop.until(lambda: told)
    assert kept.care.warnings() == [kept.journal.outlived] != [""]
    kept.stop()
    again = KeptSite(world, tmp_path / "home", boot=2).join()
    assert again.store.found.generation > generation
    world.loop.until(lambda: again.store.feeds.tips() and again.mesh.exchange.hub.sessions)
    again.write()
    world.loop.until(lambda: again.feed in peer.held())
    assert again.care.warnings() == []
    assert len(again.entries(FeedID(kept.id, generation, Lane.CONTROL))) == 3  # fetched
    again.stop()


def test_a_fork_of_its_present_feed_ends_its_writing(world: World, tmp_path: Path) -> None:
    kept = KeptSite(world, tmp_path / "home")
    kept.write()
    holding(world.site(1), written(key_of(KEPT), 1, "elsewhere")).join()
    kept.join()
    world.loop.until(lambda: kept.journal.outlived)
    kept.stop()


def test_a_fork_of_another_site_goes_into_the_log_and_to_later_links(
    world: World, tmp_path: Path
) -> None:
    one, other = (written(key_of(5), 1, name) for name in ("a", "b"))
    world.members.admit(SiteID(key_of(5).site))
    left, right = holding(world.site(1), one).join(), holding(world.site(2), other).join()
    kept = KeptSite(world, tmp_path / "home").join()

    def proved() -> list[ForkProof]:
        return [
            ForkProof(each.first, each.first_signature, each.second, each.second_signature)
            for entry in kept.entries(kept.feed)
            for each in entry.records()
            if isinstance(each, Forked)
        ]

    world.loop.until(proved)
    assert [check_fork(each) for each in proved()] == [(one[0].header.feed, 1)]
    kept.stop()
    world.stop(left)
    world.stop(right)
    again = KeptSite(world, tmp_path / "home", boot=2).join()
    late, heard = world.site(3), []
    late.mesh.on_fork(lambda feed, seq, proof: heard.append(proof))
    late.join()
    world.loop.until(lambda: heard)
    assert heard == [prove_fork(one[0], other[0])]
    again.stop()


@pytest.mark.parametrize("column", ["header", "signature", "body", "id"])
@pytest.mark.parametrize("seq", [2, 4])
def test_an_entry_whose_bits_flipped_on_disk_is_mended_from_a_peer_and_passed_on_whole(
    world: World, tmp_path: Path, column: str, seq: int
) -> None:
    # The author and the late site know nothing of each other's address.
    author = world.site(1, Registry())
    author.write(4)
    kept = KeptSite(world, tmp_path / "home").join()
    world.members.admit(author.id, [])
    author.members.admit(kept.id, world.members.addresses(kept.id))
    author.start()
    feed = FeedID(author.id, 1, Lane.CONTROL)
    world.loop.until(lambda: kept.store.feeds.tip(feed).seq == 4)
    sound = kept.entries(feed)
    _flip(kept, feed, seq, column)
    late = world.site(3).join()
    world.loop.until(lambda: late.feeds.tip(feed).seq == 4)
    assert late.feeds.entries(feed, 0, 9) == sound
    if column != "id":  # of which nobody asks
        assert kept.entries(feed) == sound
    kept.stop()


def _flip(kept: KeptSite, feed: FeedID, seq: int, column: str) -> None:
    conn = kept.store.database.writer
    where = "feed = (SELECT no FROM feed WHERE site = ?) AND seq = ?"
    stored = conn.execute(f"SELECT {column} FROM entry WHERE {where}", (feed.site, seq)).get
    flipped = stored[:-1] + bytes([stored[-1] ^ 1])
    conn.execute(f"UPDATE entry SET {column} = ? WHERE {where}", (flipped, feed.site, seq))


def test_a_second_node_with_the_same_key_is_noticed_by_both_and_by_others(
    world: World, tmp_path: Path
) -> None:
    peer = KeptSite(world, tmp_path / "peer", number=1).join()
    kept = KeptSite(world, tmp_path / "home").join()
    world.loop.until(lambda: kept.mesh.exchange.hub.sessions)
    clone = KeptSite(world, tmp_path / "clone", boot=2).join()
    world.loop.until(lambda: kept.care.twins and clone.care.twins)
    assert list(peer.care.twins) == [kept.id]
    assert peer.care.warnings() == []
    assert "started earlier" in clone.care.warnings()[0]
    assert list(kept.care.twins) == [kept.id]
    assert "kept out" in kept.care.warnings()[0]
    assert clone.mesh.exchange.hub.sessions
    assert TWIN_S > 300
    for site in (clone, kept, peer):
        site.stop()


def test_a_node_that_is_kept_out_leaves_a_generation_that_the_other_may_write(
    world: World, tmp_path: Path
) -> None:
    world.site(1).join()
    kept = KeptSite(world, tmp_path / "home", shared=True).join()
    world.loop.until(lambda: kept.mesh.exchange.hub.sessions)
    clone = KeptSite(world, tmp_path / "clone", boot=2).join()
    world.loop.until(lambda: kept.journal.outlived)
    kept.stop()
    again = KeptSite(world, tmp_path / "home")
    assert again.store.found.generation > clone.store.found.generation
    again.join()
    world.loop.until(lambda: again.care.twins)  # it is kept out as before, and goes on as it is
    assert again.journal.outlived == ""
    clone.stop()
    again.stop()

"""Real links and stores: the other branch of a forked feed is found, and gone over to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from federation.entry import Entry, seal
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.records import Dataset, Site, UserRemove
from keys.identity import SiteKey
from node.fold import Fold
from node.meshing.branching import Branching
from node.store import branches
from tests.fakes.mesh import key_of
from tests.fakes.store import Store
from tests.unit.federation.builders import results
from tests.unit.federation.worlds import World, a_world
from tests.unit.node.meshing.test_feedcare import KeptSite, holding

AUTHOR = key_of(5)
NEW_SHARD = ShardID(b"n" * 32)


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        made.members.admit(SiteID(AUTHOR.site))
        yield made


class Branched(KeptSite):
    """A site that looks for the branches that it needs."""

    def __init__(self, world: World, home: Path, boot: int = 1) -> None:
        super().__init__(world, home, boot)
        self.missing: list[EntryRef] = []
        self.reasons: list[str] = []
        self.branching = Branching(
            world.loop.reactor, self.mesh, self.journal, self.store.database.writer,
            self.feed, lambda: self.missing, self.reasons.append, self.new_shard,
            look_s=0.05,
        )  # fmt: skip

    async def new_shard(self) -> ShardID:
        return NEW_SHARD

    def join(self) -> Branched:
        self.branching.start()
        super().join()
        return self

    def stop(self) -> None:
        self.branching.stop()
        super().stop()

    def again(self, boot: int) -> Branched:
        """What the process does when the site is to be started again."""
        home = self.store.home
        self.stop()
        store = Store(home, key=self.key)
        fold = Fold(self.id, lambda text: 1 / 0, lambda text: 1 / 0)  # type: ignore[arg-type, return-value]
        branches.take(store.database.writer, self.id, fold)
        store.close()
        return Branched(self.world, home, boot).join()


def branch(
    key: SiteKey, common: list[Entry], name: str, count: int, lane: Lane = Lane.CONTROL
) -> list[Entry]:
    """A feed that goes on from common entries."""
    feed, made = FeedID(SiteID(key.site), 1, lane), list(common)
    for seq in range(len(made) + 1, len(made) + 1 + count):
        prev = made[-1].id if made else b""
        record = results(len(name)) if lane else Site(name, str(seq))
        made.append(seal(key, feed, seq, prev, seq, [record]))
    return made


def given(site: Branched, entries: list[Entry]) -> None:
    site.journal.ingest(entries)
    feed = entries[0].header.feed
    site.world.loop.until(lambda: site.store.feeds.tip(feed).seq == len(entries))


@pytest.mark.parametrize("common", [0, 2])
def test_the_branch_is_taken_in_which_a_log_goes_on(
    world: World, tmp_path: Path, common: int
) -> None:
    shared = branch(AUTHOR, [], "shared", common)
    ours, theirs = branch(AUTHOR, shared, "ours", 3), branch(AUTHOR, shared, "theirs", 6)
    feed = ours[0].header.feed
    kept = Branched(world, tmp_path / "home").join()
    given(kept, ours)
    holding(world.site(1), theirs).join()
    world.loop.until(lambda: kept.mesh.exchange.forks.proofs)
    assert kept.reasons == []
    kept.missing = [theirs[-1].ref]
    world.loop.until(lambda: kept.reasons)
    assert f"from entry {common + 1} on" in kept.reasons[0]
    again = kept.again(boot=2)
    world.loop.until(lambda: again.store.feeds.tip(feed).seq == len(theirs))
    assert again.entries(feed) == theirs
    again.stop()


def test_the_lane_of_which_no_proof_is_in_the_log_goes_over_too(
    world: World, tmp_path: Path
) -> None:
    kept = Branched(world, tmp_path / "home").join()
    there = world.site(1)
    for lane in Lane:
        given(kept, branch(AUTHOR, [], "ours", 1, lane))
        holding(there, branch(AUTHOR, [], "elsewhere", 4, lane))
    there.join()
    world.loop.until(lambda: len(kept.mesh.exchange.forks.proofs) == len(Lane))
    kept = gone_over(kept, FeedID(SiteID(AUTHOR.site), 1, Lane.CONTROL), boot=2)
    kept = gone_over(kept, FeedID(SiteID(AUTHOR.site), 1, Lane.RESULTS), boot=3)
    kept.stop()


def gone_over(kept: Branched, feed: FeedID, boot: int) -> Branched:
    """The site, started again on the other branch of a feed, of which its log needs entry 4."""
    kept.missing = [EntryRef(feed, 4, EntryID(b""))]
    kept.world.loop.until(lambda: kept.reasons)
    again = kept.again(boot)
    again.world.loop.until(lambda: again.store.feeds.tip(feed).seq == 4)
    return again


def test_a_place_that_is_waited_for_and_held_by_another_entry_is_reason_enough(
    world: World, tmp_path: Path
) -> None:
    ours, theirs = (branch(AUTHOR, [], name, 2) for name in ("ours", "theirs"))
    kept = Branched(world, tmp_path / "home").join()
    given(kept, ours)
    holding(world.site(1), theirs).join()
    kept.missing = [EntryRef(ours[0].header.feed, 2, EntryID(b""))]
    world.loop.until(lambda: kept.reasons)
    kept.stop()


def test_of_the_branches_of_its_own_past_a_site_takes_the_longer_one_and_says_again_what_it_lost(
    world: World, tmp_path: Path
) -> None:
    said = UserRemove(b"k" * 32, b"{}", b"s", b"k" * 32)
    taken = Dataset(ShardID(b"o" * 32), b"document", b"s", b"k" * 32)  # its shard was founded here
    kept = Branched(world, tmp_path / "home")
    for record in (said, taken):
        world.loop.result(kept.journal.control(record))
    past = kept.feed
    theirs = branch(kept.key, [], "elsewhere", 3)
    holding(world.site(1), theirs).join()
    kept.join()
    world.loop.until(lambda: kept.journal.outlived)
    kept = kept.again(boot=2)
    world.loop.until(lambda: kept.reasons)
    kept = kept.again(boot=3)
    world.loop.until(lambda: kept.store.feeds.tip(past).seq == 3)
    assert kept.entries(past) == theirs
    again = [each for entry in kept.entries(kept.feed) for each in entry.records()]
    assert again.count(said) == 1
    assert again.count(replace(taken, shard=NEW_SHARD)) == 1
    assert branches.salvaged(kept.store.database.writer) == []
    kept.stop()


def test_without_a_reason_a_site_keeps_the_branch_that_it_has(world: World, tmp_path: Path) -> None:
    ours, theirs = branch(AUTHOR, [], "ours", 1), branch(AUTHOR, [], "theirs", 4)
    kept = Branched(world, tmp_path / "home").join()
    given(kept, ours)
    holding(world.site(1), theirs).join()
    world.loop.until(lambda: kept.mesh.exchange.forks.proofs)
    world.loop.turn(0.5)
    assert kept.reasons == []
    kept.stop()

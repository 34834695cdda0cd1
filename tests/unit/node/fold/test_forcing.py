"""A shard whose leader is gone: an admin's word, the cut, and what goes on behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.ids import EntryID, EntryRef, FeedID, Lane, UserKey
from federation.records import Accept, Command, Force, FoundCouncil
from federation.shard import shard_id
from keys.identity import SiteKey
from node.changes import DatasetChanged, TermOpened, UnitsSettled
from node.fold import digest, state_root
from node.model.force import ForceOrder, write_force
from tests.unit.node.fold.test_fold import Site
from tests.unit.node.fold.test_people import add
from tests.unit.node.fold.world import ANA, BEN, Log, database, document, fold_into, order, results

TERM = 2


class Restored(Site):
    """A site whose old generation granted ten units of `d`; three were accepted, two were not."""

    def __init__(self) -> None:
        super().__init__()
        self.log.control(add(self, ANA, "ana", ANA), add(self, BEN, "ben", ANA, roles=()))
        self.id = self.submit("d")
        self.results(results(self.id, 0, [0, 1, 2]))
        self.log.results(results(self.id, 0, [3, 4]), accept=False)
        self.fold()
        self.cut = self.head()
        self.results_tip = self.log.tips[Lane.RESULTS]
        self.log.generation, self.log.tips = 2, {}

    def head(self) -> EntryRef:
        seq, id_ = self.log.tips[Lane.CONTROL]
        feed = FeedID(self.log.site, self.log.generation, Lane.CONTROL)
        return EntryRef(feed, seq, EntryID(id_))

    @property
    def leader(self) -> FeedID:
        return FeedID(self.log.site, self.log.generation, Lane.CONTROL)

    def force(self, key: UserKey = ANA, term: int = TERM, **said: object) -> Force:
        """said: what the document says instead."""
        right = ForceOrder(self.log.shard, term, self.leader, self.cut, bytes(16))
        text = write_force(replace(right, **said))
        return Force(self.log.shard, term, self.cut.seq, self.cut.id, text, key, key)

    def accept_old(self) -> Accept:
        return Accept(self.log.shard, self.log.site, 1, *self.results_tip)


@pytest.fixture
def site() -> Restored:
    return Restored()


def test_without_it_nothing_of_the_new_generation_counts(site: Restored) -> None:
    site.log.control(site.accept_old())
    site.log.order(site.id, "pause")
    assert site.fold() == []
    assert site.counts() == {"settled": 3, "ready": 7}
    assert site.refused() == []  # who leads there may yet turn out


def test_behind_it_accepts_grants_and_orders_of_the_new_leader_count(site: Restored) -> None:
    site.log.control(site.force(), site.accept_old())
    assert site.fold() == [
        TermOpened(site.log.shard, TERM, site.leader),
        DatasetChanged(1, "force"),
        UnitsSettled(64, [3, 4]),
    ]
    assert site.counts() == {"settled": 5, "ready": 5}
    site.log.order(site.id, "cancel", select={"jobs": [9, 10]})
    second = site.submit("e")
    site.results(results(site.id, 0, [5]), results(second, 0, [0]))
    assert site.counts() == {"settled": 6, "ready": 3, "cancelled": 1}
    assert site.counts(128) == {"settled": 1, "ready": 9}
    assert site.refused() == []


def test_results_of_units_granted_before_count_when_they_come_late(site: Restored) -> None:
    late = results(site.id, 0, [5, 6])
    site.log.results(late, accept=False)  # under the new generation, before the force
    site.log.control(site.force())
    site.log.accept()
    site.fold()
    assert site.counts() == {"settled": 5, "ready": 5}


def test_what_was_accepted_before_is_not_accepted_again(site: Restored) -> None:
    site.log.control(site.force(), site.accept_old(), site.accept_old())
    site.fold()
    assert site.counts() == {"settled": 5, "ready": 5}
    assert site.conn.execute("SELECT through FROM position").get == 2


def test_the_shard_is_shown_as_forced_for_ever(site: Restored) -> None:
    site.log.control(site.force())
    site.fold()
    row = site.conn.execute(
        "SELECT term, generation, cut_generation, cut_seq, cut_entry, person FROM forced"
    ).get
    assert row == (TERM, 2, 1, site.cut.seq, site.cut.id, ANA)
    assert site.conn.execute("SELECT term, generation FROM shard").get == (TERM, 2)


def test_the_old_leaders_later_words_are_no_part_of_the_log(site: Restored) -> None:
    old = Log.new()
    old.tips = {Lane.CONTROL: (site.cut.seq, site.cut.id)}
    site.log.control(site.force())
    late = old.control(Command(site.log.shard, order(site.id, "pause"), ANA, ANA))
    site.log.entries.append(late)
    site.fold()
    assert site.refused() == []
    assert site.conn.execute("SELECT paused FROM dataset").get == 0


def test_it_may_be_forced_again(site: Restored) -> None:
    site.log.control(site.force())
    site.fold()
    site.cut = site.head()
    site.log.generation, site.log.tips = 7, {}
    site.log.control(site.force(term=TERM), site.force(term=7), site.accept_old())
    site.fold()
    assert len(site.refused()) == 1
    assert site.counts()["settled"] == 5
    terms = [term for (term,) in site.conn.execute("SELECT term FROM forced ORDER BY 1")]
    assert terms == [TERM, 7]


OTHER = FeedID(SiteKey(b"o" * 32).site, 2, Lane.CONTROL)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda site: site.force(BEN), "no admin"),
        (lambda site: site.force(UserKey(b"x" * 32)), "no admin"),
        (lambda site: replace(site.force(), signature=BEN), "another key"),
        (lambda site: replace(site.force(), term=TERM + 1), "says something else"),
        (lambda site: site.force(term=TERM, cut=replace(site.cut, seq=1)), "says something else"),
        (lambda site: replace(site.force(), entry=EntryID(b"x" * 32)), "says something else"),
        (lambda site: site.force(leader=OTHER), "another leader"),
        (lambda site: site.force(leader=replace(site.leader, generation=3)), "another leader"),
        (lambda site: replace(site.force(), doc=site.force().doc + b" "), "bad document"),
        (lambda site: replace(site.force(), shard=b"q" * 32), "says something else"),
    ],
)
def test_anything_else_than_the_admins_word_changes_nothing(site: Restored, wrong, why) -> None:
    before = state_root(site.conn)
    site.log.control(wrong(site))
    site.log.order(site.id, "pause")
    assert site.fold() == []
    assert why in site.refused()[0]
    assert state_root(site.conn) == before
    assert site.conn.execute("SELECT count(*) FROM forced").get == 0


def test_what_stands_beyond_the_cut_is_withdrawn(site: Restored) -> None:
    old = site.log.entries[site.cut.seq - 2]  # before the accept of the three
    assert old.header.seq == site.cut.seq - 1
    site.cut = replace(site.cut, seq=old.header.seq, id=old.id)
    second = site.submit("e")
    site.log.control(site.force())
    changes = site.fold()
    assert site.counts() == {"ready": 10}
    assert changes.count(DatasetChanged(1, "anew")) == 2  # it goes, and it is back
    site.log.control(site.accept_old())
    site.fold()
    assert site.counts() == {"settled": 5, "ready": 5}
    assert site.refused() == []
    assert site.conn.execute("SELECT count(*) FROM dataset WHERE id = ?", (second,)).get == 0


def test_the_leader_itself_cannot_force(site: Restored) -> None:
    site.log.generation, site.log.tips = 1, {Lane.CONTROL: (site.cut.seq, site.cut.id)}
    site.log.control(site.force())
    assert site.fold() == []
    assert "generation" in site.refused()[0]


def test_a_shard_of_several_voters_is_forced_on_too(site: Restored) -> None:
    nonce = b"2" * 16
    council = [site.log.site, SiteKey(b"o" * 32).site, SiteKey(b"p" * 32).site]
    shard = shard_id(site.log.site, nonce)
    conn, log = database(), Log.new()
    log.control(FoundCouncil(shard, nonce, council, [1, 1, 1]), add(site, ANA, "ana", ANA))
    cut = replace(site.cut, seq=1, id=log.entries[0].id)
    log.generation, log.tips = 2, {}
    text = write_force(ForceOrder(shard, TERM, site.leader, cut, bytes(16)))
    log.control(Force(shard, TERM, 1, cut.id, text, ANA, ANA))
    fold_into(conn, log.entries)
    assert conn.execute("SELECT count(*) FROM refused").get == 0
    assert conn.execute("SELECT term, generation, voters FROM shard").get == (TERM, 2, 1)


def test_folding_the_same_feeds_again_gives_the_same_tables(site: Restored) -> None:
    site.log.control(site.force(BEN), site.force(), site.accept_old())
    site.log.submit(document("e"))
    site.fold()
    again = database()
    fold_into(again, site.log.entries)
    assert state_root(again) == state_root(site.conn)
    assert digest(again) == digest(site.conn)
    changed = database()
    fold_into(changed, site.log.entries[:-1])
    assert digest(changed) != digest(site.conn)

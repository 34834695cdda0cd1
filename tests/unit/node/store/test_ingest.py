"""Entries of other sites: stored and folded with our own, each once, forks proved, all bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation import hlc
from federation.entry import Entry, seal
from federation.feed import Fork, ForkProof, Gap, check_fork, prove_fork
from federation.ids import FeedID, Lane, SiteID
from federation.records import Accept, Forked, Site
from keys.identity import SiteKey
from node.fold import Fold
from node.store.taking import OwnFeedAhead
from node.store.waiting import JournalClosed, JournalFull, JournalLimits
from tests.fakes.disk import FakeDisk
from tests.fakes.store import KEY, HeldCommits, Store, a_site, outcome, some_results

OTHER = SiteKey(b"another-site".ljust(32, b"-"))
THIRD = SiteKey(b"a-third-site".ljust(32, b"-"))
WALL_MS = 1_700_000_000_000
MB = 1_000_000


class Author:
    """A site elsewhere, writing one feed."""

    def __init__(self, key=OTHER, lane=Lane.CONTROL, generation=1):
        self.key = key
        self.feed = FeedID(SiteID(key.site), generation, lane)
        self.entries: list[Entry] = []

    def write(self, *records, time_ms=WALL_MS):
        seq = len(self.entries) + 1
        prev = self.entries[-1].id if self.entries else b""
        time = hlc.from_ms(time_ms) + seq
        self.entries.append(seal(self.key, self.feed, seq, prev, time, records or [a_site()]))
        return self.entries[-1]

    def branch(self):
        """Another copy of this site, from here on."""
        copy = Author(self.key, self.feed.lane, self.feed.generation)
        copy.entries = list(self.entries)
        return copy


def real_fold():
    return Fold(SiteID(KEY.site), lambda text: 1 / 0, lambda text: 1 / 0)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "home", fold=real_fold())
    yield store
    store.close()


def stored(store, author):
    return [entry.id for entry in store.feeds.entries(author.feed)]


def ids(author):
    return [entry.id for entry in author.entries]


def own_control(store):
    entries = store.feeds.entries(FeedID(SiteID(KEY.site), store.found.generation, Lane.CONTROL))
    return [record for entry in entries for record in entry.records()]


def test_entries_are_stored_and_folded_before_the_call_ends(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", fold=real_fold(), commit=commits)
    author = Author()
    done = outcome(store.journal.ingest([author.write(a_site("lbnl")), author.write()]))
    store.turn()
    assert done == []
    commits.release()
    assert done == [None]
    assert stored(store, author) == ids(author)
    names = store.database.writer.execute("SELECT name FROM site").fetchall()
    assert ("desy",) in names  # the second entry's, which came later
    store.close()


def test_one_commit_carries_our_own_records_and_those_of_others(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", commit=commits)
    author, results = Author(), Author(THIRD, Lane.RESULTS)
    done = [
        outcome(store.journal.ingest([author.write()])),
        outcome(store.journal.control(a_site())),
        outcome(store.journal.ingest([results.write(some_results())])),
    ]
    store.turn()
    assert len(commits.waiting) == 1
    commits.release()
    assert done == [[None]] * 3
    store.close()


def test_an_entry_that_two_links_bring_is_stored_once_and_both_hear_of_it(store):
    author = Author()
    first, second = author.write(), author.write()
    one = outcome(store.journal.ingest([first, second]))
    two = outcome(store.journal.ingest([first]))
    store.turn()
    again = outcome(store.journal.ingest([first, second]))
    assert one == two == again == [None]
    assert stored(store, author) == ids(author)


def test_every_entry_is_told_of_once_it_is_durable_own_or_taken_in(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", commit=commits)
    heard = []
    store.journal.subscribe_durable(heard.extend)
    author = Author()
    store.journal.ingest([author.write()])
    store.journal.control(a_site())
    store.turn()
    assert heard == []
    commits.release()
    assert [entry.header.site for entry in heard] == [OTHER.site, KEY.site]
    store.close()


def test_entries_of_others_do_not_touch_the_high_water_file(store):
    store.journal.control(a_site())
    store.turn()
    before = (store.home / "floe.highwater").read_bytes()
    store.journal.ingest([Author().write()])
    store.turn(0.1)
    assert (store.home / "floe.highwater").read_bytes() == before


def test_what_does_not_follow_is_refused_and_the_rest_is_kept(store):
    author, other = Author(), Author(THIRD)
    author.write(), author.write()
    done = outcome(store.journal.ingest([author.entries[1], other.write()]))
    assert done == []
    store.turn()
    assert isinstance(done[0], Gap)
    assert stored(store, author) == []
    assert stored(store, other) == ids(other)


def test_entries_follow_those_of_calls_that_are_not_finished(store):
    author = Author()
    done = [outcome(store.journal.ingest([author.write()])) for _ in range(5)]
    store.turn()
    assert done == [[None]] * 5
    assert stored(store, author) == ids(author)


def test_the_leader_accepts_results_of_other_sites_in_the_same_transaction(store):
    def leader(refs):
        return [
            Accept(b"s" * 32, ref.feed.site, ref.feed.generation, ref.seq, ref.id) for ref in refs
        ]

    store.journal.leader = leader
    author = Author(lane=Lane.RESULTS)
    store.journal.ingest([author.write(some_results())])
    store.journal.results(some_results())
    store.turn()
    accepted = [(record.site, record.entry) for record in own_control(store)]
    assert (OTHER.site, author.entries[0].id) in accepted
    assert len(accepted) == 2


# Forks


def forked(store):
    return [record for record in own_control(store) if isinstance(record, Forked)]


def proof_of(record):
    return ForkProof(record.first, record.first_signature, record.second, record.second_signature)


def test_a_fork_is_proved_in_our_control_feed_once_and_folded_never(store):
    author = Author()
    author.write(a_site("one"))
    copy = author.branch()
    author.write(a_site("two"))
    store.journal.ingest(author.entries)
    store.turn()
    done = outcome(store.journal.ingest([copy.write(a_site("zwei"))]))
    assert isinstance(done[0], Fork)
    store.turn(0.1)
    (proof,) = forked(store)
    assert check_fork(proof_of(proof)) == (author.feed, 2)
    assert stored(store, author) == ids(author)
    told = store.database.writer.execute("SELECT site, generation, seq FROM fork").fetchall()
    assert told == [(OTHER.site, 1, 2)]

    for _ in range(3):
        assert isinstance(outcome(store.journal.ingest([copy.entries[1]]))[0], Fork)
        store.turn(0.1)
    assert len(forked(store)) == 1
    names = store.database.writer.execute("SELECT name FROM site WHERE key = ?", (OTHER.site,))
    assert names.get == "two"


def test_a_fork_that_was_proved_before_a_restart_is_not_proved_again(tmp_path):
    store = Store(tmp_path / "home", fold=real_fold())
    author = Author()
    copy = author.branch()
    store.journal.ingest([author.write(a_site("one"))])
    store.turn()
    store.journal.ingest([copy.write(a_site("eins"))]).addErrback(lambda _: None)
    store.turn(0.1)
    store.close()
    store = Store(tmp_path / "home", fold=real_fold())
    assert isinstance(outcome(store.journal.ingest(copy.entries))[0], Fork)
    store.turn(0.1)
    assert len(forked(store)) == 1
    store.close()


def test_a_branch_that_begins_earlier_names_the_place_to_ask_for(store):
    author = Author()
    author.write(a_site("one"))
    copy = author.branch()
    author.write(a_site("two"))
    store.journal.ingest(author.entries)
    copy.write(a_site("zwei"))
    later = outcome(store.journal.ingest([copy.write(a_site("drei"))]))
    assert isinstance(later[0], Fork)
    assert later[0].at == 2
    store.turn(0.1)
    assert forked(store) == []  # nothing is proved yet
    assert isinstance(outcome(store.journal.ingest([copy.entries[1]]))[0], Fork)
    store.turn(0.1)
    assert len(forked(store)) == 1


def test_a_proof_from_elsewhere_is_not_repeated(store):
    author = Author()
    copy = author.branch()
    author.write(a_site("one"))
    copy.write(a_site("eins"))
    first, second = sorted((author.entries[0], copy.entries[0]), key=lambda entry: entry.id)
    record = Forked(first.header_bytes, first.signature, second.header_bytes, second.signature)
    store.journal.ingest([Author(THIRD).write(record), author.entries[0]])
    store.turn()
    assert isinstance(outcome(store.journal.ingest(copy.entries))[0], Fork)
    store.turn(0.1)
    assert forked(store) == []


def test_a_false_proof_is_refused(store):
    author = Author()
    one, two = author.write(a_site("one")), author.write(a_site("two"))
    record = Forked(one.header_bytes, one.signature, two.header_bytes, two.signature)
    store.journal.ingest([Author(THIRD).write(record)])
    store.turn()
    assert store.database.writer.execute("SELECT count(*) FROM fork").get == 0
    assert "proof" in store.database.writer.execute("SELECT why FROM refused").get


# Our own feeds


def test_our_own_tail_of_an_earlier_generation_is_stored(tmp_path):
    store = Store(tmp_path / "home")
    store.journal.control(a_site())
    store.turn()
    author = Author(KEY)
    author.entries = store.feeds.entries(author.feed)
    store.journal.outlive(author.feed, 2)
    store.close()
    store = Store(tmp_path / "home")  # goes on under a later generation
    assert store.found.generation > 1
    done = outcome(store.journal.ingest([author.write(), author.write()]))
    store.journal.control(a_site())
    store.turn()
    assert done == [None]
    assert stored(store, author) == ids(author)
    assert len(own_control(store)) == 1
    store.close()


@pytest.mark.parametrize("generation", [1, 7])
def test_what_another_copy_of_this_home_wrote_is_refused_and_named(store, generation):
    author = Author(KEY, generation=generation)
    done = outcome(store.journal.ingest([author.write()]))
    assert isinstance(done[0], OwnFeedAhead)
    assert "another copy" in str(done[0])


def test_our_own_entries_coming_back_are_no_news(store):
    store.journal.control(a_site())
    store.turn()
    entries = store.feeds.entries(FeedID(SiteID(KEY.site), 1, Lane.CONTROL))
    assert outcome(store.journal.ingest(entries)) == [None]


def test_a_peer_that_holds_later_entries_of_ours_ends_all_writing_here(store):
    store.journal.control(a_site())
    store.turn()
    author = Author(KEY)
    author.entries = store.feeds.entries(author.feed)
    waits = outcome(store.journal.control(a_site("late")))
    told: list[str] = []
    store.journal.on_outlived(told.append)
    store.journal.ingest([author.write()]).addErrback(lambda _: None)
    store.turn()
    assert len(told) == 1
    assert "another copy" in store.journal.outlived == told[0]
    assert isinstance(waits[0], JournalClosed)
    other = Author()
    for refused in (
        store.journal.control(a_site()),
        store.journal.results(some_results()),
        store.journal.local(lambda conn: None),
        store.journal.ingest([other.write()]),
    ):
        assert isinstance(outcome(refused)[0], JournalClosed)
    store.turn(10)
    assert len(own_control(store)) == 1


@pytest.mark.parametrize("lane", list(Lane))
def test_the_next_start_writes_above_all_that_was_shown_and_takes_it_in(tmp_path, lane):
    store = Store(tmp_path / "home", fold=real_fold())
    author = Author(KEY, lane, generation=70_000)
    shown = [author.write(), author.write()]
    store.journal.outlive(author.feed, 2)
    store.close()
    store = Store(tmp_path / "home", fold=real_fold())
    assert store.found.generation > 70_000
    assert outcome(store.journal.ingest(shown)) == []
    store.turn()
    assert stored(store, author) == ids(author)
    assert store.highwater.lost[-1].generation == 70_000
    store.close()


def test_what_is_on_its_way_to_the_disk_comes_first(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", fold=real_fold(), commit=commits)
    done = outcome(store.journal.control(a_site()))
    store.turn()
    store.journal.outlive(FeedID(SiteID(KEY.site), 1, Lane.CONTROL), 9)
    assert store.journal.outlived == ""
    commits.release()
    assert done == [None]
    assert "entry 9" in store.journal.outlived
    store.close()


def test_earlier_generations_of_ours_elsewhere_are_no_alarm(store):
    earlier = FeedID(SiteID(KEY.site), store.found.generation - 1, Lane.CONTROL)
    store.journal.outlive(earlier, 10)
    assert store.journal.outlived == ""


def test_a_fork_of_our_present_feed_ends_all_writing_and_one_of_an_earlier_is_proved(tmp_path):
    store = Store(tmp_path / "home", fold=real_fold())
    copy = Author(KEY)
    store.journal.control(a_site())
    store.turn()
    (mine,) = store.feeds.entries(copy.feed)
    proof = prove_fork(mine, copy.write(a_site("elsewhere")))
    store.journal.note_fork(proof)
    assert "another copy" in store.journal.outlived
    store.close()
    store = Store(tmp_path / "home", fold=real_fold())
    store.journal.note_fork(proof)
    store.journal.note_fork(proof)
    store.turn(1)
    assert store.journal.outlived == ""
    assert [proof_of(record) for record in forked(store)] == [proof]
    store.close()


def test_an_entry_that_follows_one_of_ours_that_we_never_wrote_ends_all_writing(store):
    store.journal.control(a_site())
    store.turn()
    copy = Author(KEY)
    copy.write(a_site("elsewhere"))
    later = copy.write()
    assert isinstance(outcome(store.journal.ingest([later]))[0], Fork)
    assert "another copy" in store.journal.outlived


def test_a_disk_that_does_not_take_the_word_is_asked_again(tmp_path):
    disk = FakeDisk()
    store = Store(tmp_path / "home", fold=real_fold(), disk=disk)
    told: list[str] = []
    store.journal.on_outlived(told.append)
    disk.full = True
    store.journal.outlive(FeedID(SiteID(KEY.site), 5, Lane.CONTROL), 1)
    store.turn(1)
    assert store.journal.outlived
    assert told == []
    disk.full = False
    store.turn(JournalLimits().retry_s_max)
    assert len(told) == 1
    store.close()
    disk.close()


# The clock


def test_times_of_others_are_merged_but_not_from_a_far_future(store):
    author, liar = Author(), Author(THIRD)
    soon_ms = WALL_MS + 60_000
    store.journal.ingest([author.write(time_ms=soon_ms)])
    store.journal.ingest([liar.write(time_ms=WALL_MS + 3_600_000)])
    store.journal.control(a_site())
    store.turn()
    feed = FeedID(SiteID(KEY.site), 1, Lane.CONTROL)
    (own,) = store.feeds.entries(feed)
    assert author.entries[0].header.hlc < own.header.hlc < hlc.from_ms(soon_ms + 1)


def test_the_clock_goes_on_behind_our_own_entries_after_a_restart(tmp_path):
    late_ms = WALL_MS + 10_000_000
    store = Store(tmp_path / "home", wall_ms=lambda: late_ms)
    store.journal.control(a_site())
    store.turn()
    store.close()
    store = Store(tmp_path / "home")  # the wall clock was set back
    store.journal.control(a_site())
    store.turn()
    first, second = store.feeds.entries(FeedID(SiteID(KEY.site), 1, Lane.CONTROL))
    assert second.header.hlc > first.header.hlc
    store.close()


# Bounds


def big(author, kib=60):
    return author.write(*[Site("x" * 100, "y" * 64)] * (kib * 1024 // 180))


def test_our_own_records_wait_for_a_bounded_amount_of_others(tmp_path):
    bounds = JournalLimits(arrived_bytes_a_cycle=150 << 10)
    store = Store(tmp_path / "home", bounds=bounds)
    author = Author()
    done = outcome(store.journal.ingest([big(author) for _ in range(50)]))
    store.turn()
    own = outcome(store.journal.control(a_site()))
    store.turn(0.01)
    assert own == [None]
    assert done == []
    assert len(stored(store, author)) <= 4
    for _ in range(60):
        store.turn(0.01)
    assert done == [None]
    store.close()


def test_beyond_the_bound_nothing_is_taken_in_until_some_is_written(tmp_path):
    commits = HeldCommits()
    bounds = JournalLimits(arrived_bytes_max=100 << 10)
    store = Store(tmp_path / "home", commit=commits, bounds=bounds)
    author = Author()
    taken = outcome(store.journal.ingest([big(author), big(author)]))
    refused = big(author)
    assert isinstance(outcome(store.journal.ingest([refused]))[0], JournalFull)
    store.turn()
    commits.release()
    assert taken == [None]
    again = outcome(store.journal.ingest([refused]))
    store.turn(0.1)
    commits.release()
    assert again == [None]
    store.close()


def test_where_the_disk_has_little_room_only_control_entries_are_taken(tmp_path):
    free = [50 * MB]
    store = Store(tmp_path / "home", free_bytes=lambda: free[0])
    control, results = Author(), Author(lane=Lane.RESULTS)
    entry = results.write(some_results())
    done = outcome(store.journal.ingest([entry, control.write()]))
    store.turn()
    assert isinstance(done[0], JournalFull)
    assert stored(store, control) == ids(control)
    assert stored(store, results) == []
    free[0] = 200 * MB
    again = outcome(store.journal.ingest([entry]))
    store.turn(0.1)
    assert again == [None]
    store.close()


def test_a_full_disk_keeps_what_was_accepted(tmp_path):
    disk = FakeDisk()
    store = Store(tmp_path / "home", disk=disk)
    author = Author()
    disk.full = True
    done = outcome(store.journal.ingest([author.write(), author.write()]))
    own = outcome(store.journal.control(a_site()))
    store.turn(0.3)
    more = outcome(store.journal.ingest([author.write()]))
    store.turn(5)
    assert done == own == more == []
    disk.full = False
    for _ in range(50):
        store.turn(0.25)
    assert done == own == more == [None]
    assert stored(store, author) == ids(author)
    store.close()
    disk.close()


def test_closing_lets_go_of_what_was_not_begun(tmp_path):
    commits = HeldCommits()
    store = Store(tmp_path / "home", commit=commits, bounds=JournalLimits(arrived_bytes_a_cycle=1))
    author = Author()
    done = [outcome(store.journal.ingest([author.write()])) for _ in range(2)]
    store.turn()
    closed = outcome(store.journal.close())
    commits.release()
    store.turn()
    assert done[0] == [None]
    assert isinstance(done[1][0], JournalClosed)
    assert closed == [None]
    assert isinstance(outcome(store.journal.ingest([author.write()]))[0], JournalClosed)
    store.database.close()


def test_an_entry_without_its_body_is_stored_and_not_folded(store):
    author = Author()
    bare = replace(author.write(a_site("lbnl")), body=None)
    done = outcome(store.journal.ingest([bare]))
    store.turn()
    assert done == [None]
    assert stored(store, author) == ids(author)
    assert store.database.writer.execute("SELECT count(*) FROM site").get == 0

"""Feeds: only the next entry follows; a second branch is noticed and proves itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.entry import Entry, seal
from federation.errors import LocalError, PeerError
from federation.feed import (
    FeedTip,
    Fork,
    Gap,
    Known,
    check_fork,
    check_same,
    follow,
    prove_fork,
)
from federation.records import Site
from tests.unit.federation.builders import CONTROL, KEY, OTHER_KEY, OTHER_SITE, RESULTS, chain


def branch_of(entry: Entry) -> Entry:
    """Another entry for the place of `entry`."""
    header = entry.header
    return seal(KEY, header.feed, header.seq, header.prev, header.hlc, [Site("other", "9")])


def test_a_chain_is_followed_to_its_end() -> None:
    tip = FeedTip(CONTROL)
    for entry in chain(3):
        tip = follow(tip, entry)
    assert tip == FeedTip(CONTROL, 3, chain(3)[-1].id, 3 << 16)


def test_a_missing_entry_is_a_gap_that_says_what_to_fetch() -> None:
    first, _, _, fourth = chain(4)
    tip = follow(FeedTip(CONTROL), first)
    with pytest.raises(Gap) as caught:
        follow(tip, fourth)
    assert (caught.value.missing_from, caught.value.missing_to) == (2, 3)


def test_the_tip_again_is_known() -> None:
    first, second = chain(2)
    tip = follow(follow(FeedTip(CONTROL), first), second)
    with pytest.raises(Known) as caught:
        follow(tip, second)
    assert caught.value.settled


def test_an_older_place_is_for_the_store_to_compare() -> None:
    first, second = chain(2)
    tip = follow(follow(FeedTip(CONTROL), first), second)
    for older in (first, branch_of(first)):
        with pytest.raises(Known) as caught:
            follow(tip, older)
        assert not caught.value.settled
    check_same(first.id, first)
    with pytest.raises(Fork) as forked:
        check_same(first.id, branch_of(first))
    assert forked.value.at == 1


def test_another_entry_at_the_tip_is_a_fork() -> None:
    first, second = chain(2)
    tip = follow(follow(FeedTip(CONTROL), first), second)
    with pytest.raises(Fork) as caught:
        follow(tip, branch_of(second))
    assert caught.value.at == 2


def test_an_entry_on_a_foreign_one_shows_a_fork_before_it() -> None:
    first, _ = chain(2)
    foreign = seal(KEY, CONTROL, 2, branch_of(first).id, 9, [Site("desy", "1")])
    with pytest.raises(Fork) as caught:
        follow(follow(FeedTip(CONTROL), first), foreign)
    assert caught.value.at == 1


def test_entries_of_another_feed_are_our_mistake() -> None:
    with pytest.raises(LocalError):
        follow(FeedTip(RESULTS), chain(1)[0])


def test_a_fork_proves_itself_whichever_branch_is_named_first() -> None:
    entry = chain(2)[1]
    proof = prove_fork(entry, branch_of(entry))
    assert proof == prove_fork(branch_of(entry), entry)
    assert check_fork(proof) == (CONTROL, 2)


def test_what_is_no_fork_is_no_proof() -> None:
    first, second = chain(2)
    with pytest.raises(LocalError):
        prove_fork(first, second)
    with pytest.raises(LocalError):
        prove_fork(first, first)
    proof = prove_fork(second, branch_of(second))
    same = replace(proof, second=proof.first, second_signature=proof.first_signature)
    with pytest.raises(PeerError):
        check_fork(same)
    with pytest.raises(PeerError):
        check_fork(replace(proof, second_signature=proof.first_signature))


def test_two_sites_never_fork_one_another() -> None:
    mine = chain(1)[0]
    theirs = chain(1, replace(CONTROL, site=OTHER_SITE), OTHER_KEY)[0]
    with pytest.raises(LocalError):
        prove_fork(mine, theirs)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_any_order_of_arrival_ends_with_a_prefix_of_the_chain(order: list[int]) -> None:
    entries = chain(6)
    tip = FeedTip(CONTROL)
    for place in order:
        try:
            tip = follow(tip, entries[place])
        except (Gap, Known):
            continue
    assert tip.id == (entries[tip.seq - 1].id if tip.seq else b"")

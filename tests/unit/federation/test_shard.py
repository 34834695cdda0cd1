"""Founding: who leads term 0, and which records are the shard's log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.errors import LocalError
from federation.ids import EntryID, EntryRef, SiteID
from federation.records import Force, Found, Grant, Record, Refused, Results, Unknown
from federation.shard import (
    BadForce,
    BadFounding,
    check_found,
    force_shard,
    found,
    log_records,
    open_founded,
    shard_id,
)
from tests.unit.federation.builders import (
    CONTROL,
    NONCE,
    OTHER_SITE,
    PERSON,
    RESULTS,
    SHARD,
    SITE,
    one_of_each,
)

THIRD = SiteID(b"3" * 32)
AT = EntryRef(CONTROL, 4, EntryID(b"f" * 32))


def test_a_founder_leads_term_0_alone_or_among_others() -> None:
    for council in ([SITE], [OTHER_SITE, SITE, THIRD]):
        shard = open_founded(found(SITE, NONCE, council), AT)
        assert shard.id == SHARD
        assert shard.founder == shard.newest.leader == SITE
        assert shard.newest.number == 0
        assert shard.leads(CONTROL)
        assert not shard.leads(replace(CONTROL, generation=2))
        assert list(shard.council) == council


def test_the_id_binds_founder_and_nonce() -> None:
    assert len({shard_id(SITE, NONCE), shard_id(OTHER_SITE, NONCE), shard_id(SITE, bytes(16))}) == 3
    with pytest.raises(BadFounding, match="id"):
        check_found(Found(SHARD, NONCE, [OTHER_SITE]), OTHER_SITE)
    with pytest.raises(BadFounding, match="id"):
        check_found(Found(SHARD, bytes(16), [SITE]), SITE)


@pytest.mark.parametrize(
    "council", [[], [OTHER_SITE], [SITE, OTHER_SITE], [SITE, SITE, OTHER_SITE]]
)
def test_a_dishonest_council_founds_nothing(council: list[SiteID]) -> None:
    with pytest.raises(LocalError):
        found(SITE, NONCE, council)


def test_a_shard_is_founded_in_a_control_feed_only() -> None:
    with pytest.raises(BadFounding, match="control"):
        open_founded(found(SITE, NONCE, [SITE]), replace(AT, feed=RESULTS))


def test_the_log_holds_the_leaders_records_of_this_shard_in_order() -> None:
    shard = open_founded(found(SITE, NONCE, [SITE]), AT)
    mixed: list[Record | Refused] = [*one_of_each(), Unknown(999, b""), Refused(0, "")]
    log = log_records(shard, AT, mixed)
    assert [record.kind for record in log if not isinstance(record, Unknown)] == [
        10,
        12,
        13,
        14,
        15,
        24,
    ]
    assert not any(isinstance(record, Results) for record in log)


def test_records_of_others_of_other_shards_and_from_before_are_no_log() -> None:
    shard = open_founded(found(SITE, NONCE, [SITE]), AT)
    records = one_of_each()
    assert log_records(shard, replace(AT, feed=replace(CONTROL, site=OTHER_SITE)), records) == []
    assert log_records(shard, replace(AT, seq=3), records) == []
    other = open_founded(found(SITE, bytes(16), [SITE]), AT)
    assert log_records(other, AT, records) == []


# Forced


LATER = replace(AT, feed=replace(CONTROL, generation=2), seq=3)
CUT = EntryID(b"c" * 32)


def force(term: int = 1, seq: int = 9) -> Force:
    return Force(SHARD, term, seq, CUT, b"{}", b"signature", PERSON)


def test_who_forces_a_shard_leads_it_behind_the_cut() -> None:
    shard = force_shard(open_founded(found(SITE, NONCE, [SITE]), AT), force(), LATER)
    assert shard.newest.number == 1
    assert shard.newest.cut == EntryRef(CONTROL, 9, CUT)
    assert shard.leads(LATER.feed)
    assert not shard.leads(CONTROL)
    grants = [record for record in one_of_each() if isinstance(record, Grant)]
    assert log_records(shard, LATER, grants) == grants
    assert log_records(shard, AT, grants) == []
    assert log_records(shard, replace(LATER, seq=2), grants) == []


def test_a_forced_shard_may_be_forced_again_by_a_later_generation() -> None:
    shard = force_shard(open_founded(found(SITE, NONCE, [SITE]), AT), force(5), LATER)
    third = replace(LATER, feed=replace(CONTROL, generation=3))
    assert force_shard(shard, force(6), third).newest.cut == EntryRef(LATER.feed, 9, CUT)
    with pytest.raises(BadForce, match="term"):
        force_shard(shard, force(5), third)
    with pytest.raises(BadForce, match="generation"):
        force_shard(shard, force(6), LATER)


@pytest.mark.parametrize(
    ("council", "at", "why"),
    [
        ([SITE], AT, "generation"),
        ([SITE], replace(LATER, feed=replace(RESULTS, generation=2)), "control"),
        ([SITE], replace(LATER, feed=replace(LATER.feed, site=OTHER_SITE)), "council"),
        ([SITE, OTHER_SITE, THIRD], LATER, "council of one"),
    ],
)
def test_nobody_else_can_force_a_shard(council: list[SiteID], at: EntryRef, why: str) -> None:
    shard = open_founded(found(SITE, NONCE, council), AT)
    with pytest.raises(BadForce, match=why):
        force_shard(shard, force(), at)

"""What people are told about the sites of their mesh."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from federation.pulse import Health
from node.services.meshfacts import BanFact, LinkFact, MeshFacts, ShardFact, SiteFact
from node.services.meshwhy import alarms, settled_line, shown_age, twin_line, why_site

MADISON = SiteFact(b"m" * 32, "madison", Health.ALIVE, own=True)


def site(state: Health = Health.ALIVE, **more: Any) -> SiteFact:
    return SiteFact(b"a" * 32, "aachen", state, **more)


def shard(**more: Any) -> ShardFact:
    values: dict[str, Any] = {
        "id": b"\x4f\x3a" + bytes(30), "founder": "aachen", "leader": "aachen",
        "leader_state": Health.ALIVE, "term": 0, "council": ("aachen", "madison", "desy"),
        "closed": (), "datasets": 2, "open": 2, "position": 40, "unsettled": 0,
        "vote_after_s": 1800.0,
    }  # fmt: skip
    return ShardFact(**(values | more))


def mesh(there: SiteFact, links: tuple[LinkFact, ...] = (), *shards: ShardFact) -> MeshFacts:
    return MeshFacts((MADISON, there), links, shards)


def told(facts: MeshFacts) -> str:
    why = why_site(facts, facts.sites[1])
    lines = [f"{line['mark']} {line['text']}" for line in why.lines]
    return "\n".join([f"{why.state}: {why.summary}", *lines, *(f"-> {step}" for step in why.next)])


def test_an_alive_site_tells_its_link_and_what_it_holds() -> None:
    link = LinkFact("aachen", "out", "198.51.100.7:7421", True, handshake_s=3600.0, rtt_s=0.012)
    shown = told(mesh(site(granted=2112), (link,)))
    assert shown.startswith("alive: aachen is alive")
    assert "ok a link to 198.51.100.7:7421, dialled, up for 60 m, 12 ms there and back" in shown
    assert "ok it holds 2,112 granted units" in shown
    assert "->" not in shown


def test_an_unreachable_site_tells_what_was_tried_and_when_its_units_go_to_others() -> None:
    link = LinkFact(
        "aachen", "", "198.51.100.7:7421", False, error="connection timed out", tried_s=130.0
    )
    gone = site(Health.UNREACHABLE, seen_s=2460.0, granted=2112, running=212)
    shown = told(mesh(gone, (link,)))
    assert "unreachable: aachen is unreachable from here (last heard 41 m ago)" in shown
    assert "block dialled 198.51.100.7:7421, last 2 m ago: connection timed out" in shown
    assert "2,112 granted units (212 were running); they are granted again in 19 m" in shown
    assert "-> nothing to do, unless it is gone for good: floe mesh revoke aachen" in shown


def test_a_silent_leader_tells_when_others_may_take_over() -> None:
    gone = site(Health.UNREACHABLE, seen_s=600.0)
    shown = told(mesh(gone, (), shard(silent_s=600.0)))
    assert "wait it leads shard aachen/4f3a, term 0: 2 open datasets" in shown
    assert "may vote for another leader in 20 m" in shown


def test_a_leader_that_was_replaced_is_said_to_be_so() -> None:
    gone = site(Health.UNREACHABLE, seen_s=2460.0)
    replaced = shard(leader="desy", term=1)
    assert "- it founded shard aachen/4f3a: desy leads it since term 1" in told(
        mesh(gone, (), replaced)
    )
    [line] = alarms(mesh(gone, (), replaced))
    assert line == (
        "aachen: not heard for 41 m. Its shard is led by desy, term 1. floe mesh why aachen"
    )


def test_a_leader_alone_in_its_council_can_only_be_started_again() -> None:
    gone = site(Health.UNREACHABLE, seen_s=600.0)
    shown = told(mesh(gone, (), shard(council=("aachen",))))
    assert "nobody can take over" in shown
    assert "-> have its node started again" in shown


def test_a_site_that_only_dials_out_is_no_trouble() -> None:
    shown = told(mesh(site()))
    assert "ok no direct link, and no address to dial; others pass its records on" in shown


def test_a_site_that_only_dials_out_is_never_said_to_be_dialled() -> None:
    ended = LinkFact("aachen", "", "", False, error="nothing was heard of you", tried_s=5.0)
    shown = told(mesh(site(), (ended,)))
    assert "ok no direct link, and no address to dial; others pass its records on;" in shown
    assert "the last link ended: nothing was heard of you" in shown
    assert "dialled" not in shown


def test_a_revoked_site_has_nothing_more_to_say() -> None:
    shown = told(mesh(site(Health.REVOKED, granted=7), (), shard()))
    assert shown.count("\n") == 1
    assert "an admin revoked it, for ever" in shown


def test_a_site_that_broke_the_protocol_is_shouted_about() -> None:
    facts = mesh(site(broken=3, broken_how="a frame of 4294967295 bytes"))
    line = "broke the protocol, which ended 3 links of it"
    assert any(line in alarm and "4294967295" in alarm for alarm in alarms(facts))
    shown = told(facts)
    assert f"block {line}, the last time by: a frame of 4294967295 bytes" in shown
    assert "-> ask its admin which program runs there" in shown
    assert not alarms(mesh(site()))


def test_a_closed_seat_and_a_wrong_clock_are_told() -> None:
    shown = told(mesh(site(clock_s=-3.2e7), (), shard(leader="desy", founder="desy",
                                                      closed=("aachen",))))  # fmt: skip
    assert "its seat is closed" in shown
    assert "its clock is 370 d behind; only shown times suffer" in shown


def test_a_clock_that_differs_from_all_others_is_wrong_itself() -> None:
    def all_of(*offsets_s: float) -> list[str]:
        others = [SiteFact(bytes([at]) * 32, f"s{at}", Health.ALIVE, clock_s=offset_s)
                  for at, offset_s in enumerate(offsets_s)]  # fmt: skip
        return alarms(MeshFacts((MADISON, *others)))

    here = "madison: the clock here is 12 d behind, say all 2 other sites (shown times only)"
    assert all_of(1e6, 1e6) == [here]
    assert all_of(1e6) == ["s0: its clock is 12 d ahead (shown times only)"]
    assert len(all_of(1e6, -1e6)) == 2
    assert all_of(1e6, 0.0) == ["s0: its clock is 12 d ahead (shown times only)"]


@pytest.mark.parametrize(
    ("shards", "line"),
    [
        ((), "every log record is settled"),
        ((shard(unsettled=3, unsettled_s=12.0),), "everything settled up to 12 s ago"),
        ((shard(unsettled=3),), "3 log records are not settled yet"),
        ((shard(unsettled=1, unsettled_s=600.0, datasets=0),), "every log record is settled"),
        (
            (shard(leader_state=Health.UNREACHABLE),),
            "every log record that came is settled; nothing comes from aachen",
        ),
        ((shard(leader_state=Health.UNREACHABLE, open=0),), "every log record is settled"),
    ],
)
def test_the_headline_says_how_far_everything_is_settled(
    shards: tuple[ShardFact, ...], line: str
) -> None:
    assert settled_line(mesh(site(), (), *shards)) == line


def test_a_council_without_a_majority_is_shouted_and_told_of_the_sites_that_are_missing() -> None:
    still = shard(stands_still="no majority is reached", still_brief="1 of 3")
    facts = mesh(site(Health.UNREACHABLE, seen_s=600.0), (), still)
    assert "shard aachen/4f3a: no majority is reached" in alarms(facts)
    assert "block shard aachen/4f3a stands still: no majority is reached" in told(facts)
    assert "stands still" not in told(mesh(site(), (), still))
    lost = shard(stands_still="its log lost 2 of 3 voters", for_good=True)
    assert alarms(mesh(site(), (), lost)) == [
        "shard aachen/4f3a: its log lost 2 of 3 voters. floe mesh recover"
    ]


def test_a_leader_that_is_there_and_shows_no_commit_may_have_a_full_disk() -> None:
    facts = mesh(site(), (), shard(silent_s=1000.0))
    assert "is there, but shows no commit for 17 m: its disk may be full" in alarms(facts)[0]
    shown = told(facts)
    assert (
        "wait it leads shard aachen/4f3a, term 0: 2 open datasets, but it shows no commit for"
        in (shown)
    )
    assert "-> see whether its disk takes what is written: floe status there" in shown
    for well in (shard(silent_s=899.0), shard(silent_s=1000.0, open=0)):
        assert alarms(mesh(site(), (), well)) == []


def test_what_the_own_node_cannot_do_is_shouted() -> None:
    own = replace(MADISON, troubles=("nothing can be written: the disk is full",))
    facts = MeshFacts((own, site()))
    assert alarms(facts) == ["madison: nothing can be written: the disk is full"]
    assert why_site(facts, own).lines[1] == {
        "mark": "block",
        "text": "nothing can be written: the disk is full",
    }


def test_a_vote_under_way_and_records_that_wait_are_shouted() -> None:
    lines = alarms(mesh(site(), (), shard(votes=("desy",), vote_term=3), shard(waits=5)))
    assert lines == [
        "shard aachen/4f3a: a vote for term 3 is under way: desy of 3",
        "shard aachen/4f3a: 5 log records wait for results that are not here yet",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "?"), (0.4, "0 s"), (119.0, "119 s"), (2460.0, "41 m"), (7300.0, "2 h"), (2e5, "2 d")],
)
def test_ages_are_short(seconds: float | None, shown: str) -> None:
    assert shown_age(seconds) == shown


def test_two_nodes_of_one_key_are_told_in_the_past_with_their_age() -> None:
    shown = told(mesh(site(twin_s=180.0)))
    assert "block two nodes with its key ran 3 m ago" in shown
    assert "unless that was done" in shown
    assert twin_line("aachen", 180.0).startswith("aachen: two nodes with its key ran 3 m ago")


def test_a_site_that_just_joined_was_not_heard_yet() -> None:
    assert "aachen was not heard yet" in told(mesh(site(Health.SUSPECT)))
    assert "aachen is silent for 70 s" in told(mesh(site(Health.SUSPECT, seen_s=70.0)))


def test_workers_that_get_no_units_are_shouted_about_and_told_with_the_evidence() -> None:
    why = "5 units in a row failed at once (exit), while such units run well on c18"
    bans = [BanFact("c17", 2820.0, why)]
    facts = mesh(site(barred=2, bans=bans))
    (line,) = alarms(facts)
    assert line == (
        "aachen: 2 workers get no units, as everything failed there at once: c17, …."
        " floe site show aachen"
    )
    shown = told(facts)
    assert f"block its worker c17 gets no units, again in 47 m: {why}" in shown
    (line,) = alarms(mesh(site(barred=1, bans=bans)))
    assert line.startswith(
        "aachen: a worker gets no units, as everything failed there at once: c17."
    )
    assert alarms(mesh(site())) == []

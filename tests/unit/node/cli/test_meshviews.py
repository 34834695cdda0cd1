"""The mesh as it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from node.cli import meshviews

SITES: list[dict[str, Any]] = [
    {"name": "madison", "own": True, "state": "alive", "version": "1.4.0", "batch": ["local"],
     "running": 4812, "ready": 61000, "pilots": 310},
    {"name": "aachen", "state": "unreachable", "last_seen_s": 2460.0, "lag_entries": 3,
     "clock_offset_s": None, "version": "1.4.0", "running": 212, "ready": 9, "pilots": 4,
     "note": "\x1b[2Jboo"},
    {"name": "nersc", "state": "alive", "last_seen_s": 1.0, "lag_entries": 14,
     "clock_offset_s": -86400.0 * 3, "version": "1.3.2", "note": "older, compatible"},
]  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_a_mesh_is_one_headline_and_one_line_a_site(capsys: pytest.CaptureFixture[str]) -> None:
    reply = {"mesh": "madison", "sites": SITES, "settled": "every log record is settled",
             "alarms": ["aachen: not heard for 41 m."]}  # fmt: skip
    meshviews.print_mesh(reply)
    lines = printed(capsys).splitlines()
    assert (
        lines[0] == "MESH madison · 3 sites · 2 alive, 1 unreachable · every log record is settled"
    )
    assert lines[2].split()[:2] == ["madison*", "alive"]
    assert "4,812" in lines[2]
    assert "212?" in lines[3]  # what is not known any more is not said as if it were
    assert "41 m" in lines[3]
    assert "-3 d" in lines[4]
    assert lines[5] == "! aachen: not heard for 41 m."


def test_names_and_notes_from_other_sites_move_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    meshviews.print_mesh({"sites": SITES})
    assert "\x1b[2J" not in printed(capsys)


def test_a_revoked_site_is_no_site_of_the_mesh_and_one_that_just_joined_was_not_heard(
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = [{"name": "ulb", "state": "revoked"}, {"name": "oslo", "state": "suspect"}]
    meshviews.print_mesh({"sites": [*SITES, *more], "settled": "?"})
    headline, *lines = printed(capsys).splitlines()
    assert "· 4 sites ·" in headline
    assert "1 revoked" in headline
    assert "-?" not in lines[4]
    assert lines[5].endswith("not heard yet")


def test_a_site_alone_says_what_settled_means() -> None:
    [line] = meshviews.mesh_lines({"sites": SITES[:1], "settled": "every log record is settled"})
    assert line.endswith("every log record is settled, on this site's disk alone")


def test_links_tell_what_is_up_and_why_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    links = [
        {"peer": "desy", "direction": "out", "path": "desy.example.org:7421", "up": True,
         "handshake_s": 45, "rtt_ms": 12.3, "sent_bytes": 2100, "received_bytes": 10,
         "credits": [262144, 1048576], "resends": 0},
        {"peer": "aachen", "path": "198.51.100.7:7421", "up": False, "error": "timed out",
         "tried_s": 130},
    ]  # fmt: skip
    meshviews.print_links({"links": links})
    first, second = printed(capsys).splitlines()[1:]
    assert "45 s ago" in first
    assert "12 ms" in first
    assert "down" in second
    assert second.endswith("timed out (2 m ago)")
    meshviews.print_links({"links": []})
    assert "no links" in printed(capsys)


def test_shards_tell_leader_term_council_and_what_is_under_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shard = {
        "name": "aachen/4f3a", "leader": "desy", "leader_state": "unreachable", "term": 1,
        "council": ["aachen", "desy", "nersc"], "closed": ["aachen"], "datasets": 2, "open": 1,
        "position": 40, "settled": 37, "unsettled_s": 12.0, "vote_term": 2, "votes": ["nersc"],
    }  # fmt: skip
    meshviews.print_shards({"shards": [shard]})
    line = printed(capsys).splitlines()[1]
    assert "desy (unreachable)" in line
    assert "(aachen), desy, nersc" in line
    assert "oldest unsettled record 12 s ago; vote for term 2 by nersc" in line


def test_a_comparison_that_differs_is_not_overlooked(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "site": "desy",
        "shard": "4f" * 32,
        "name": "aachen/4f3a",
        "position": 40,
        "root": "ab" * 32,
    }
    meshviews.print_verified({"compared": [{**row, "equal": True}], "equal": True})
    shown = printed(capsys)
    assert "equal at every common position (1 comparison)" in shown
    assert "aachen/4f3a" in shown
    assert "4f4f4f4f" not in shown
    silent = {"nersc": "no link leads to it"}
    meshviews.print_verified(
        {"compared": [{**row, "equal": False}], "equal": False, "silent": silent}
    )
    shown = printed(capsys)
    assert "NOT EQUAL" in shown
    assert "! nersc was not compared: no link leads to it" in shown


def test_nothing_compared_is_not_called_equal(capsys: pytest.CaptureFixture[str]) -> None:
    silent = {"nersc": "no link leads to it"}
    meshviews.print_verified({"compared": [], "equal": True, "silent": silent})
    assert printed(capsys).splitlines() == [
        "! nersc was not compared: no link leads to it",
        "nothing was compared: no other site holds a log that this one has, or answered",
    ]


def test_a_shard_that_stands_still_and_one_whose_leader_commits_nothing_are_noted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    still = {"name": "aachen/4f3a", "still_brief": "stands still: 2 of 5 voters reached"}
    mute = {"name": "aachen/77aa", "mute_s": 1000.0, "vote_after_s": 1800.0}
    meshviews.print_shards({"shards": [still, mute]})
    _, first, second = printed(capsys).splitlines()
    assert first.endswith("stands still: 2 of 5 voters reached")
    assert second.endswith("no commit of its leader for 17 m, voters wait 30 m")


def test_an_explanation_ends_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    why = {"summary": "aachen is unreachable", "lines": [{"mark": "wait", "text": "12 units"}],
           "next": ["floe mesh revoke aachen"]}  # fmt: skip
    meshviews.print_why({"site": "aachen", "key": "abcd1234efgh", "why": why})
    assert printed(capsys).splitlines() == [
        "aachen · abcd1234", "aachen is unreachable", "  wait   12 units",
        "  → floe mesh revoke aachen",
    ]  # fmt: skip

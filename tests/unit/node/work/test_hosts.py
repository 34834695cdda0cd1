"""Which worker is to blame when units fail at once, and what it gets until that is known."""

import pytest

from node.work.hosts import (
    BAN_S_MIN,
    FAILS_MIN,
    PROBATION_UNITS,
    QUICK_S,
    SUSPECT_S,
    Fail,
    Hosts,
    quick_fails,
)
from node.work.sessions import Session, Sessions


def fails(count: int, task: int = 64, error: str = "exit") -> list[Fail]:
    return [Fail(task, job, error) for job in range(count)]


def allowed(hosts: Hosts, name: str, now_s: float = 0.0, out: int = 0, others: bool = True):
    return hosts.allows(name, out, now_s, others=others)


def test_a_new_host_gets_few_units_until_one_ran_well():
    hosts = Hosts()
    assert allowed(hosts, "w1") == PROBATION_UNITS < 10
    assert allowed(hosts, "w1", out=PROBATION_UNITS) == 0
    hosts.note("w1", 64, 1, [], False, 5.0)
    assert allowed(hosts, "w1", out=100) is None


def test_units_that_run_for_long_are_no_reason_to_hold_a_host_back():
    hosts = Hosts()
    assert allowed(hosts, "w1", 0.0) == PROBATION_UNITS
    assert allowed(hosts, "w1", QUICK_S, out=PROBATION_UNITS) is None


def test_a_host_is_banned_when_such_units_run_well_elsewhere():
    hosts = Hosts()
    hosts.note("w2", 64, 3, [], False, 0.0)
    assert hosts.note("w1", 64, 0, fails(FAILS_MIN - 1), False, 1.0) is None
    banned = hosts.note("w1", 64, 0, fails(1), False, 2.0)
    assert banned is not None
    assert banned.why == "5 units in a row failed at once (exit), while such units run well on w2"
    assert allowed(hosts, "w1", 3.0) == 0
    assert hosts.shown(3.0)[0]["host"] == "w1"


def test_a_suspect_waits_for_others_to_try_and_is_banned_by_their_success():
    hosts = Hosts()
    assert hosts.note("w1", 64, 0, fails(FAILS_MIN), False, 0.0) is None
    assert allowed(hosts, "w1", 1.0) == 0
    banned = hosts.note("w2", 64, 1, [], False, 2.0)
    assert banned is not None
    assert banned.name == "w1"


def test_units_that_fail_everywhere_ban_nobody():
    hosts = Hosts()
    for name in ("w1", "w2", "w3"):
        assert hosts.note(name, 64, 0, fails(FAILS_MIN), False, 0.0) is None
    assert hosts.shown(1.0) == []
    assert allowed(hosts, "w1", 1.0) is None


def test_a_lone_host_goes_on_after_a_while_as_nobody_will_ever_show_anything():
    hosts = Hosts()
    hosts.note("w1", 64, 0, fails(FAILS_MIN), False, 0.0)
    assert allowed(hosts, "w1", SUSPECT_S - 1, others=False) == 0
    assert allowed(hosts, "w1", SUSPECT_S, others=False) is None


def test_a_suspect_gets_a_single_unit_when_nobody_else_tried():
    hosts = Hosts()
    hosts.note("w1", 64, 0, fails(FAILS_MIN), False, 0.0)
    assert allowed(hosts, "w1", SUSPECT_S) == 1
    hosts.note("w1", 64, 0, fails(1), False, SUSPECT_S)
    assert allowed(hosts, "w1", 2 * SUSPECT_S) == 0
    assert allowed(hosts, "w1", 3 * SUSPECT_S) == 1


def test_faults_of_the_worker_need_no_witness():
    banned = Hosts().note("w1", 64, 0, fails(FAILS_MIN, error="worker"), False, 0.0)
    assert banned is not None
    assert "the worker itself is at fault" in banned.why


def banned_by(account: str, workers: int, error: str) -> Hosts:
    """Somebody's units fail at once on every worker but the first."""
    hosts = Hosts()
    names = [f"w{number}" for number in range(workers)]
    for name in names:
        allowed(hosts, name)
    hosts.note(names[0], 64, 1, [], False, 0.0, account)
    for name in names[1:]:
        hosts.note(name, 64, 0, fails(FAILS_MIN, error=error), False, 1.0, account)
    return hosts


@pytest.mark.parametrize("error", ["exit", "runner-lost"])
def test_units_of_one_account_ban_half_of_the_workers_at_most(error: str):
    """They may look where they run, or kill what watches them."""
    hosts = banned_by("eve", 10, error)
    assert len(hosts.banned(2.0)) == 5
    assert allowed(hosts, "w9", 2.0) is None
    hosts.note("w9", 128, 0, [Fail(128, job, error) for job in range(FAILS_MIN)], False, 2.0, "eve")
    assert len(hosts.banned(2.0)) == 5, "of another task, too"


def test_what_others_see_of_a_worker_counts_for_itself():
    hosts = banned_by("eve", 10, "exit")
    hosts.note("w0", 128, 1, [], False, 2.0, "ana")
    banned = hosts.note(
        "w9", 128, 0, [Fail(128, job, "exit") for job in range(FAILS_MIN)], False, 2.0, "ana"
    )
    assert banned is not None
    assert banned.name == "w9"


def test_of_two_workers_one_can_be_banned_by_whoever_is_alone_there():
    assert [host.name for host in banned_by("ana", 2, "exit").banned(2.0)] == ["w1"]


def test_a_ban_is_not_forgotten_for_names_that_come_and_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("node.work.hosts.HOSTS_KEPT", 20)
    hosts = banned_by("ana", 4, "exit")
    banned = [host.name for host in hosts.banned(2.0)]
    for number in range(100):
        allowed(hosts, f"other{number}", 2.0)
    assert [host.name for host in hosts.banned(2.0)] == banned
    assert len(hosts.known) == 20


def test_a_ban_ends_with_one_unit_and_the_next_is_longer():
    hosts = Hosts()
    hosts.note("w2", 64, 3, [], False, 0.0)
    hosts.note("w1", 64, 0, fails(FAILS_MIN), False, 0.0)
    assert allowed(hosts, "w1", BAN_S_MIN) == 1
    banned = hosts.note("w1", 64, 0, fails(1), False, BAN_S_MIN)
    assert banned is not None
    assert banned.until_s == BAN_S_MIN + 2 * BAN_S_MIN
    hosts.note("w1", 64, 1, [], False, banned.until_s)
    assert allowed(hosts, "w1", banned.until_s) is None


def test_a_success_in_between_clears_a_host():
    hosts = Hosts()
    hosts.note("w2", 64, 3, [], False, 0.0)
    for _ in range(10):
        assert hosts.note("w1", 64, 0, fails(FAILS_MIN - 1), False, 0.0) is None
        assert hosts.note("w1", 64, 1, [], False, 0.0) is None


def test_only_what_failed_soon_failed_at_once():
    failed = [(1, 1, "exit"), (2, 1, "exit")]
    assert quick_fails(64, failed, {1: 1.0, 2: QUICK_S}) == [Fail(64, 1, "exit")]


def test_what_is_new_of_bans_is_told_once():
    hosts = Hosts()
    hosts.note("w2", 64, 3, [], False, 0.0)
    banned = hosts.note("w1", 64, 0, fails(FAILS_MIN), False, 1.0)
    assert banned is not None
    assert hosts.news() == [banned]
    assert hosts.news() == []
    for _ in range(2):
        hosts.named(banned, "maui", "node1")
    assert (hosts.news(), list(banned.names)) == ([banned], [("maui", "node1")])
    hosts.note("w1", 64, 1, [], False, BAN_S_MIN + 2)
    assert hosts.news() == [banned]
    assert banned.bans == 0


def test_a_ban_of_before_goes_on_with_its_evidence_and_counts_for_the_next_one():
    hosts = Hosts()
    hosts.put("w1", 100.0, 5, 2, "it swallowed units", [("maui", "node1")])
    assert allowed(hosts, "w1", 99.0) == 0
    assert [host.name for host in hosts.banned(99.0)] == ["w1"]
    assert hosts.shown(99.0)[0]["why"] == "it swallowed units"
    assert allowed(hosts, "w1", 101.0) == 1
    hosts.note("w2", 64, 1, [], False, 101.0)
    banned = hosts.note("w1", 64, 0, fails(1), False, 102.0)
    assert banned is not None
    assert banned.until_s == 102.0 + 4 * BAN_S_MIN


def test_an_admin_ends_a_ban_by_either_name_and_it_counts_for_nothing_any_more():
    for name in ("w1", "node1"):
        hosts = Hosts()
        hosts.put("w1", 100.0, 5, 2, "it swallowed units", [("maui", "node1")])
        assert not hosts.forgive("w2")
        assert hosts.news() == []
        assert hosts.forgive(name)
        assert [host.bans for host in hosts.news()] == [0]
        assert hosts.shown(1.0) == []
        assert allowed(hosts, "w1", 1.0) == PROBATION_UNITS
        assert not hosts.forgive(name)


def test_a_pilot_that_was_lost_is_no_other_worker():
    sessions = Sessions()
    here, gone = Session(1, "t", b"1", 0.0, host="w1"), Session(2, "t", b"2", 0.0, host="w2")
    sessions.add(here)
    sessions.add(gone)
    assert sessions.other_hosts("w1")
    gone.lost = True
    assert not sessions.other_hosts("w1")
    assert sessions.other_hosts("w3")

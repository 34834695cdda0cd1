"""Units that end together with their pilot: told as evicted, and never too early."""

from __future__ import annotations

import signal

import pytest

from pilot import messages
from pilot.doubt import DOUBT_S, WAITING_MAX, Doubt, Told

NOW_MS = 1_000_000
AT = {name: messages.ROW.index(name) for name in messages.ROW}


def row(error: str = "", status: int = 0, *, ended_ms: int = NOW_MS, job: int = 1) -> Told:
    """A unit that ran for 5 s."""
    cells = messages.lost_row(job, ended_ms - 5000, ended_ms, "worker", "")
    cells[AT["error"]] = error
    cells[AT["outcome"]] = messages.OUTCOME_OF[error]
    cells[AT["exit"]] = status
    cells[AT["outputs"]] = "" if error else "ab" * 32
    cells[AT["log"]] = "cd" * 32
    return 7, "spec", cells


def errors(rows: list[Told]) -> list[str]:
    return [cells[AT["error"]] for _, _, cells in rows]


def test_ordinary_ends_are_told_at_once() -> None:
    rows = [row(), row("exit", 1), row("memory", -9), row("signal", -signal.SIGSEGV)]
    assert Doubt(True).take(rows, 0.0) == rows


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("signal", -signal.SIGTERM),
        ("exit", 128 + signal.SIGTERM),
        ("signal", -signal.SIGUSR2),
        ("signal", -signal.SIGXCPU),
        ("runner-lost", 0),
    ],
)
def test_an_end_by_a_signal_waits_for_the_pilots_own(error: str, status: int) -> None:
    doubt = Doubt(True)
    doubtful = row(error, status)
    assert doubt.take([doubtful, row()], 10.0) == [row()]
    assert doubt.waiting() == [doubtful]
    assert doubt.due(10.0 + DOUBT_S / 2) == []
    assert doubt.next_s() == 10.0 + DOUBT_S
    told = doubt.evicted([], NOW_MS + 300)
    assert errors(told) == ["evicted"]
    assert told[0][2][AT["outcome"]] == messages.INFRASTRUCTURE
    assert told[0][2][AT["log"]] == "cd" * 32
    assert doubt.waiting() == []
    assert doubt.next_s() is None


def test_without_an_eviction_the_end_stays_what_it_was() -> None:
    doubt = Doubt(True)
    doubtful = row("signal", -15)
    doubt.take([doubtful], 10.0)
    assert doubt.due(10.0 + DOUBT_S) == [doubtful]
    assert errors(doubt.evicted([doubtful], NOW_MS + 60_000)) == ["signal"]


def test_failures_after_the_signal_are_its_fault_and_those_long_before_are_not() -> None:
    doubt = Doubt(False)
    doubt.evicted([], NOW_MS)
    rows = [
        row("exit", 1, ended_ms=NOW_MS + 50),
        row("exit", 1, ended_ms=NOW_MS - 500),
        row("memory", -9, ended_ms=NOW_MS + 50),
        row("evicted", -15, ended_ms=NOW_MS + 50),
    ]
    assert errors(doubt.take(rows, 0.0)) == ["evicted", "exit", "memory", "evicted"]


def test_success_after_a_signal_that_units_got_too_is_not_believed() -> None:
    late, early = row(ended_ms=NOW_MS + 20), row(ended_ms=NOW_MS - 2000)
    told = Doubt(True).evicted([late, early], NOW_MS)
    assert errors(told) == ["evicted", ""]
    assert [cells[AT["outputs"]] for _, _, cells in told] == ["", "ab" * 32]
    assert errors(Doubt(False).evicted([late, early], NOW_MS)) == ["", ""]


def test_the_first_signal_counts() -> None:
    doubt = Doubt(True)
    doubt.evicted([], NOW_MS)
    doubt.evicted([], NOW_MS + 10_000)
    assert errors(doubt.take([row(ended_ms=NOW_MS + 100)], 0.0)) == ["evicted"]


def test_only_so_many_wait() -> None:
    rows = [row("signal", -15, job=job) for job in range(WAITING_MAX + 5)]
    doubt = Doubt(True)
    assert len(doubt.take(rows, 0.0)) == 5
    assert len(doubt.waiting()) == WAITING_MAX

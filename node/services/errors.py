"""`floe errors`: groups of attempts that were no success, with what was done about each; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from federation.records import Outcome

SAMPLES_MAX = 3
TAIL_CHARS_MAX = 512

_KINDS = {
    "exit": "exit",
    "signal": "signal",
    "memory": "memory",
    "disk": "disk",
    "time": "time",
    "output": "output missing",
    "input": "input missing",
    "log": "log too long",
    "pilot-lost": "pilot lost",
    "inputs-changed": "inputs changed",
    "evicted": "evicted",
    "cancelled": "stopped",
    "spawn": "cannot start",
    "poison": "poison",
}


class Group(Protocol):
    """Attempts of one task that ended the same way; see node/store/results.py."""

    @property
    def task(self) -> str: ...
    @property
    def outcome(self) -> int: ...
    @property
    def error(self) -> str: ...
    @property
    def exit(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def hosts(self) -> Sequence[str]: ...
    @property
    def sites(self) -> Sequence[str]: ...
    @property
    def samples(self) -> Sequence[tuple[int, int]]: ...
    @property
    def tail(self) -> str: ...
    @property
    def failed(self) -> int: ...


def kind_of(error: str, exit_status: int) -> str:
    """The kind as people see it: "exit 3", "signal 9", "memory"."""
    if error == "exit":
        return f"exit {exit_status}"
    if error == "signal":
        return f"signal {-exit_status if exit_status < 0 else exit_status}"
    return _KINDS.get(error, error or "unknown")


def what_happens(outcome: int, error: str, failed: int) -> str:
    """What was done about it, and whose it is."""
    if error == "poison":
        return "failed: lost on five hosts"
    if outcome == Outcome.INFRASTRUCTURE:
        return "ran again, costs you nothing"
    if outcome == Outcome.STOPPED:
        return "stopped by your order"
    if outcome == Outcome.RESOURCES and not failed:
        return f"retried with 1.5× the {error or 'resources'}"
    if outcome == Outcome.RESOURCES:
        return f"failed: needs more {error or 'resources'}"
    if not failed:
        return "retried"
    return f"{failed:,} unit{'s' if failed > 1 else ''} failed: yours"


def where(group: Group) -> str:
    """The task; its sites if several; the host, where one alone loses units."""
    if group.outcome == Outcome.INFRASTRUCTURE and len(group.hosts) == 1:
        return f"{group.task}, host {group.hosts[0]}"
    if len(group.sites) > 1:
        return f"{group.task}, {len(group.sites)} sites"
    return group.task


def shown(dataset: str, groups: Iterable[Group]) -> list[dict[str, object]]:
    """The groups as the API gives them, the most frequent first."""
    return [
        {
            "count": group.count,
            "kind": kind_of(group.error, group.exit),
            "task": group.task,
            "where": where(group),
            "what": what_happens(group.outcome, group.error, group.failed),
            "outcome": Outcome(group.outcome).name.lower(),
            "error": group.error,
            "exit": group.exit,
            "failed": group.failed,
            "hosts": list(group.hosts),
            "sample": next(iter(_samples(dataset, group)), ""),
            "samples": _samples(dataset, group),
            "tail": group.tail[:TAIL_CHARS_MAX],
        }
        for group in sorted(groups, key=lambda g: (-g.count, g.task, g.error))
    ]


def _samples(dataset: str, group: Group) -> list[str]:
    return [
        f"{dataset}/{job}/{group.task}#{attempt}" for job, attempt in group.samples[:SAMPLES_MAX]
    ]

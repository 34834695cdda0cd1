"""Workers that swallow units: everything fails there at once, so they come back for more. Pure.

A host that never ran a unit well gets few at first. If they all fail at once it is held back until
others have tried such units: where these run well elsewhere, the host is to blame and is banned,
with the evidence; where they fail as fast, the units are. A ban ends after a while with a single
unit, and each next one is longer.

Units may lie: one can look where it runs, or kill what watches it. So the units of one account ban
half of the workers at most. Where more would go, its units are to blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

QUICK_S: Final = 30.0  # a unit that failed sooner has failed at once
FAILS_MIN: Final = 5  # units in a row that failed at once, before a host is suspected
PROBATION_UNITS: Final = 8  # out at a host that has never run one well
SUSPECT_S: Final = 180.0  # so long others may show what such units do elsewhere
BAN_S_MIN: Final = 3600.0
BAN_S_MAX: Final = 86_400.0
HOSTS_KEPT: Final = 10_000
TASKS_KEPT: Final = 1000
NAMES_MAX: Final = 16  # of one host in batch systems
WITNESSES_MAX: Final = 4  # hosts remembered of a task
EVIDENCE_MAX: Final = 10
WORKERS_FAULT: Final = frozenset({"worker", "runner-lost", "output-store"})
TELLS_NOTHING: Final = frozenset({"evicted"})  # the batch system wanted the worker for others


class Fail(NamedTuple):
    """A unit that failed at once."""

    task: int  # local task number
    job: int
    error: str


@dataclass(slots=True, eq=False)
class Host:
    """What is known of one worker."""

    name: str
    good: bool = False  # a unit ran well, or long enough, since it was last suspected
    first_s: float | None = None  # when it got its first units on probation
    fails: list[Fail] = field(default_factory=list)  # in a row
    suspect_s: float | None = None  # since when
    trials: int = 0  # in a row that showed nothing, as nobody else had such units
    bans: int = 0
    until_s: float = float("-inf")  # banned
    until_ms: int = 0  # the same by the wall clock; 0: not written down yet
    why: str = ""
    blamed_by: str = ""  # the one account whose units it was banned for; "": several, or not known
    # How batch systems call it: (system, name). Several nodes may say that they are one host.
    names: dict[tuple[str, str], None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Task:
    """Where units of a task were seen to run well, or to fail at once; and whose they are."""

    account: str = ""
    well: set[str] = field(default_factory=set)
    badly: set[str] = field(default_factory=set)


class Hosts:
    """All workers that returned a result since the node started."""

    def __init__(self) -> None:
        self.known: dict[str, Host] = {}
        self._tasks: dict[int, _Task] = {}
        self._suspects: dict[str, Host] = {}
        self._news: dict[str, Host] = {}

    # -- results

    def note(
        self,
        host: str,
        task: int,
        succeeded: int,
        fails: Sequence[Fail],
        slow: bool,
        now_s: float,
        account: str = "",
    ) -> Host | None:
        """Results of one task from a host; the host that this makes banned, if it does.

        fails: units that failed at once. slow: others failed after a while. account: whose they
        are.
        """
        seen = self._of_task(task)
        seen.account = account
        mine = self._of_host(host)
        if succeeded or slow:
            mine.good, mine.suspect_s, mine.first_s = True, None, None
            mine.fails.clear()
            if succeeded:
                if mine.bans:
                    self._news[host] = mine
                mine.bans = mine.trials = 0
                _add(seen.well, host)
        if not fails:
            return self._judge_others(task, now_s)
        _add(seen.badly, host)
        mine.fails = [*mine.fails, *fails][-EVIDENCE_MAX:]
        # On trial a single unit tells.
        enough = 1 if (mine.bans or mine.trials) and not mine.good else FAILS_MIN
        if len(mine.fails) >= enough and now_s >= mine.until_s:
            return self._judge(mine, now_s) or self._judge_others(task, now_s)
        return self._judge_others(task, now_s)

    def _judge_others(self, task: int, now_s: float) -> Host | None:
        """A suspect may be judged by what others show of the same task."""
        for host in list(self._suspects.values()):
            if host.suspect_s is None:
                del self._suspects[host.name]
                continue
            concerned = any(each.task == task for each in host.fails)
            if concerned and (banned := self._judge(host, now_s)) is not None:
                return banned
        return None

    def _judge(self, host: Host, now_s: float) -> Host | None:
        tasks = {fail.task for fail in host.fails}
        evidence = ""
        elsewhere = sorted(set().union(*(self._of_task(task).well for task in tasks)) - {host.name})
        if all(fail.error in WORKERS_FAULT for fail in host.fails):
            evidence = "the worker itself is at fault"
        elif elsewhere:
            evidence = f"such units run well on {elsewhere[0]}"
        accounts = {self._of_task(task).account for task in tasks}
        account = accounts.pop() if len(accounts) == 1 else ""
        if evidence and not self._has_had_its_say(account, now_s):
            return self._ban(host, evidence, account, now_s)
        if evidence or all(self._of_task(task).badly - {host.name} for task in tasks):
            host.suspect_s, host.good = None, True  # the units are to blame
            host.fails.clear()
        elif host.suspect_s is None or now_s - host.suspect_s >= _wait_s(host):
            host.trials += host.suspect_s is not None
            host.suspect_s, host.good = now_s, False
            self._suspects[host.name] = host
        return None

    def _has_had_its_say(self, account: str, now_s: float) -> bool:
        """Whether half of the workers are banned already for what units of this account did."""
        if not account:
            return False
        banned = sum(
            host.blamed_by == account and now_s < host.until_s for host in self.known.values()
        )
        return banned >= max(1, len(self.known) // 2)

    def _ban(self, host: Host, evidence: str, account: str, now_s: float) -> Host:
        ban_s = min(BAN_S_MAX, BAN_S_MIN * 2.0 ** min(host.bans, 20))
        host.bans += 1
        host.until_s, host.until_ms, host.blamed_by = now_s + ban_s, 0, account
        self._news[host.name] = host
        host.suspect_s, host.good, host.first_s = None, False, None
        errors = ", ".join(sorted({fail.error or "failed" for fail in host.fails}))
        count = len(host.fails)
        host.why = f"{count} units in a row failed at once ({errors}), while {evidence}"
        if evidence.startswith("the worker"):
            host.why = f"{count} units in a row were lost at once ({errors}): {evidence}"
        host.fails.clear()
        return host

    # -- what is kept

    def news(self) -> list[Host]:
        """Hosts that were banned, named, or ran a unit well after a ban, since this was asked."""
        found = list(self._news.values())
        self._news.clear()
        return found

    def put(
        self,
        name: str,
        until_s: float,
        until_ms: int,
        bans: int,
        why: str,
        names: Iterable[tuple[str, str]],
    ) -> None:
        """A host as it was before a restart."""
        host = self._of_host(name)
        host.until_s, host.until_ms, host.bans, host.why = until_s, until_ms, bans, why
        host.names = dict.fromkeys(names)

    def named(self, host: Host, system: str, name: str) -> None:
        """A batch system was found to call it so."""
        if (system, name) not in host.names and len(host.names) < NAMES_MAX:
            host.names[system, name] = None
            self._news[host.name] = host

    def forgive(self, name: str) -> bool:
        """An admin says that it is mended; False if it is neither banned nor suspected.

        name: of the host, or what a batch system calls it.
        """
        found = [
            host
            for host in self.known.values()
            if host.bans or host.suspect_s is not None
            if host.name == name or any(called == name for _, called in host.names)
        ]
        for host in found:
            host.bans = host.trials = 0
            host.until_s, host.until_ms, host.why = float("-inf"), 0, ""
            host.suspect_s = host.first_s = None
            host.fails.clear()
            self._news[host.name] = host
        return bool(found)

    def banned(self, now_s: float) -> list[Host]:
        """Those that get nothing now, the one that waits longest first."""
        found = [host for host in self.known.values() if now_s < host.until_s]
        return sorted(found, key=lambda host: (-host.until_s, host.name))

    # -- what it may have

    def allows(self, name: str, out: int, now_s: float, *, others: bool) -> int | None:
        """How many more units this host may get now; None: no limit.

        out: units that are there now. others: there are other workers, which could show whether
        units or host are to blame.
        """
        host = self._of_host(name)
        if now_s < host.until_s:
            return 0
        if host.good:
            return None
        if host.suspect_s is not None:
            if now_s - host.suspect_s < _wait_s(host):
                return 0
            return max(0, 1 - out) if others else None  # nobody else will ever show
        if host.first_s is not None and now_s - host.first_s >= QUICK_S and not host.fails and out:
            host.good = True  # what it has did not fail at once
            return None
        most = 1 if host.bans else PROBATION_UNITS - len(host.fails)
        left = max(0, most - out)
        if left and host.first_s is None:
            host.first_s = now_s
        return left

    def barred(self, name: str, now_s: float) -> bool:
        """Whether a host gets nothing for a while, banned or under suspicion."""
        host = self.known.get(name)
        if host is None:
            return False
        waits = host.suspect_s is not None and now_s - host.suspect_s < _wait_s(host)
        return waits or now_s < host.until_s

    def shown(self, now_s: float) -> list[dict[str, object]]:
        """Banned hosts and those under suspicion, for people."""
        found: list[dict[str, object]] = []
        for host in self.known.values():
            if now_s < host.until_s:
                left_s = round(host.until_s - now_s)
                names = [f"{system}: {name}" for system, name in host.names]
                found.append(
                    {"host": host.name, "banned_s": left_s, "why": host.why, "names": names}
                )
            elif host.suspect_s is not None:
                why = f"{len(host.fails)} units in a row failed at once; others are to try them"
                found.append({"host": host.name, "banned_s": 0, "why": why, "names": []})
        return found

    # -- bounds

    def _of_host(self, name: str) -> Host:
        found = self.known.get(name)
        if found is None:
            if len(self.known) >= HOSTS_KEPT:  # a ban is not forgotten for names that come and go
                free = (each for each, host in self.known.items() if not host.bans)
                del self.known[next(free, next(iter(self.known)))]
            found = self.known[name] = Host(name)
        return found

    def _of_task(self, task: int) -> _Task:
        found = self._tasks.get(task)
        if found is None:
            if len(self._tasks) >= TASKS_KEPT:
                del self._tasks[next(iter(self._tasks))]
            found = self._tasks[task] = _Task()
        return found


def _wait_s(host: Host) -> float:
    """How long others may show what such units do elsewhere; longer each time that none did."""
    return min(BAN_S_MIN, SUSPECT_S * 2.0 ** min(host.trials, 20))


def quick_fails(
    task: int, failed: Iterable[tuple[int, int, str]], wall_s: dict[int, float]
) -> list[Fail]:
    """Those of (job, outcome, error class) that took less than QUICK_S."""
    return [Fail(task, job, error) for job, _, error in failed if wall_s.get(job, 0.0) < QUICK_S]


def _add(names: set[str], name: str) -> None:
    if len(names) < WITNESSES_MAX:
        names.add(name)

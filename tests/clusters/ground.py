"""What a batch system has to offer for the lives in life.py, and a node that works above it."""

from __future__ import annotations

import abc
import json
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Any

from bench.site import make_site, take_down
from schedulers.base import JobName, Report
from tests.clusters.account import Account
from tests.clusters.place import wait_until
from tests.clusters.rig import Rig
from tests.clusters.sshd import alive

SYSTEM = "main"  # what nodes call the batch system
DISK_MB = 50  # steps between the kinds of pilots
RUNS_S = 120  # until a pilot that was submitted runs a unit
TAIL_BYTES = 4000  # of each log, in the report of a failed test
MEMORY, TIME = "200MB", "10m"  # of a unit


class Ground(abc.ABC):
    """A cluster for lives, made by `__init__`.

    commands: of its plugin, the one that submits first. held: settings of pilots that the batch
    system holds from the beginning, and held_words of the reason in small letters; overdue: of
    pilots that it ends after overdue_s at most, long before they expect it. settings: further ones
    of the section. elsewhere: settings of pilots that go to a worker where no others are. apart: of
    pilots of which no two go to one worker, and bad: a test of sh that is true on one of the
    workers alone, with what it reads kept of a pilot's environment; None where all workers are one.
    account: whose nodes live here.
    """

    rig: Rig
    kind: str
    commands: Sequence[str]
    held: Mapping[str, object]
    held_words: str = "held"
    overdue: Mapping[str, object]
    overdue_s: float = 150
    settings: Mapping[str, object] = {}
    elsewhere: Mapping[str, object] = {}
    apart: Mapping[str, object] | None = None
    bad: tuple[str, str] = ("false", "")
    account: Account = Account()

    def command(self, name: str) -> str:
        """The words by which a node on this machine runs a command of this cluster."""
        return self.rig.command(name)

    @abc.abstractmethod
    def cancel(self, job: JobName) -> None:
        """End a job as its owner or an administrator would, by the system's own command."""

    @abc.abstractmethod
    def crash(self, job: JobName, host: str) -> None:
        """The worker on which a job runs fails at once, with all on it; and comes back after.

        host: as the batch system names it in its listing.
        """

    def close(self) -> None:
        """Take everything down."""
        self.rig.close()


@dataclass(frozen=True)
class Kind:
    """One kind of pilots, for the units of one life. more: its settings beyond the size."""

    name: str
    more: Mapping[str, object]


class Camp:
    """A node above one batch system, or several; each life has its own kind of pilots there.

    Kinds differ in their disk: the first is the smallest, so that its pilots take no units of
    those behind it.
    """

    def __init__(
        self,
        ground: Ground,
        kinds: Sequence[Kind],
        commands: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
        more: str = "",
    ) -> None:
        """commands, settings: in place of the ground's own. more: further sections of its file."""
        self.ground = ground
        self.kinds = [kind.name for kind in kinds]
        self.base = Path(tempfile.mkdtemp(prefix="floe-life-", dir="/tmp"))
        account = ground.account
        account.give(self.base, 0o755)
        self.python = str(account.programs(self.base) / "python3")
        config = section(SYSTEM, ground, kinds, commands or {}, settings or {}) + more
        with ExitStack() as undone:
            undone.callback(shutil.rmtree, self.base, ignore_errors=True)
            self.site = make_site(self.base, "camp", slots=0, config=config, kind=account.site)
            undone.callback(take_down, self.site)
            self.site.up()
            undone.pop_all()

    def disk_mb(self, kind: str) -> int:
        return DISK_MB * (1 + self.kinds.index(kind))

    def submit(
        self,
        name: str,
        kind: str,
        script: str,
        jobs: int = 1,
        retry: int = 0,
        env: Mapping[str, object] | None = None,
    ) -> None:
        """A dataset of `jobs` shell scripts, which only pilots of this kind, or later ones, fit."""
        told = {
            "floe": 1,
            "name": name,
            "jobs": jobs,
            "retry": {"max": retry},
            "env": env or {},
            "needs": {"disk": f"{self.disk_mb(kind)}MB", "memory": MEMORY, "time": TIME},
            "task": [{"name": "main", "module": [{"run": ["sh", "-c", script]}]}],
        }
        path = self.base / f"{name}.json"
        path.write_text(json.dumps(told))
        self.site.run("submit", str(path))

    def folder(self, name: str) -> Path:
        """A new one, of the node's user."""
        path = self.base / name
        path.mkdir()
        return self.ground.account.give(path)

    def attempts(self, name: str, job: int = 0) -> list[dict[str, Any]]:
        """All attempts at a unit that ended."""
        found: list[dict[str, Any]] = self.site.json("show", f"{name}/{job}/main")["attempts"]
        return found

    def counts(self, name: str) -> dict[str, int]:
        found: dict[str, int] = self.site.json("show", name)["counts"]
        return found

    def wait_running(self, name: str, units: int = 1) -> None:
        wait_until(
            f"{units} running units of {name}",
            lambda: self.counts(name)["running"] >= units,
            RUNS_S,
        )

    # What the node wrote down.

    def rows(self, sql: str, *words: object) -> list[tuple[Any, ...]]:
        """From its store."""
        where = f"file:{self.site.home / 'floe.sqlite'}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=10)) as store:
            return store.execute(sql, words).fetchall()

    def submissions(self, kind: str) -> list[str]:
        """Tags of all submissions of a kind."""
        sql = "SELECT tag FROM submission WHERE shape ->> 'factory' = ? ORDER BY no"
        return [str(tag) for (tag,) in self.rows(sql, kind)]

    def jobs(self, kind: str) -> dict[JobName, str]:
        """Jobs of a kind that are not over, by their names: their states as the node knows them."""
        sql = (
            "SELECT job, state FROM batch_job JOIN submission ON no = submission "
            "WHERE shape ->> 'factory' = ? AND NOT over ORDER BY job"
        )
        return {JobName(job): str(state) for job, state in self.rows(sql, kind)}

    def only_job(self, kind: str) -> JobName:
        """The one job of a kind; waits for it."""
        wait_until(f"one job of {kind}", lambda: len(self.jobs(kind)) == 1, RUNS_S)
        (job,) = self.jobs(kind)
        return job

    def wait_said(self, words: str) -> None:
        """Until the node's log has these words."""
        log = self.site.home / "log" / "node.log"
        wait_until(f"{words!r} in the log", lambda: words in log.read_text("utf-8", "replace"), 60)

    # What the batch system says.

    def listed(self) -> dict[JobName, Report]:
        """All jobs of any node of this account."""
        return self.ground.rig.listing()

    def mine(self, kind: str) -> dict[JobName, Report]:
        """Jobs of a kind that the batch system lists."""
        tags = set(self.submissions(kind))
        return {job: report for job, report in self.listed().items() if report.tag in tags}

    def told(self) -> str:
        """What node, pilots and batch system have to say, for whoever reads of a failure."""
        logs = [self.site.home / "log" / "node.log"]
        logs += sorted((self.site.home / "pilots").glob("*/*/log*"))
        parts = [f"== {path}\n{_tail(path)}" for path in logs]
        parts += [f"{row}" for row in self.rows("SELECT * FROM submission")]
        parts += [f"{row}" for row in self.rows("SELECT * FROM batch_job")]
        return "\n".join([*parts, f"{self.listed()}"])

    # Its end.

    def kill(self) -> None:
        """End the node as the kernel would, for good or until `site.up`."""
        kill(self.site.pid, signal.SIGKILL)
        wait_until("the end of the node", lambda: not alive(self.site.pid))

    def close(self) -> None:
        take_down(self.site)
        shutil.rmtree(self.base, ignore_errors=True)


def _tail(path: Path) -> str:
    return path.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")


def section(
    name: str,
    ground: Ground,
    kinds: Sequence[Kind],
    commands: Mapping[str, str],
    settings: Mapping[str, object],
) -> str:
    """[site.NAME] of a batch system, and its kinds of pilots."""
    used = {each: ground.command(each) for each in ground.commands} | dict(commands)
    told: dict[str, object] = {
        "kind": ground.kind,
        "look": "1s",
        "submit_every": "1s",
        "idle": "15s",
        "cpu": 1,
        "python": ground.account.python[-1],
        **ground.settings,
        **settings,
    }
    lines = ["", f"[site.{name}]", *_assigned(told)]
    lines.append("commands = { " + ", ".join(_assigned(used)) + " }")
    for number, kind in enumerate(kinds):
        own = {"name": kind.name, "disk": f"{DISK_MB * (1 + number)}MB", **kind.more}
        lines += [f"[[site.{name}.pilot]]", *_assigned(own)]
    return "\n".join(lines) + "\n"


def _assigned(table: Mapping[str, object]) -> list[str]:
    """Lines of TOML; its numbers, words and lists look like those of JSON."""
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]

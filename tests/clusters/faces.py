"""What an admin is told of a batch system before and after the first pilot, on real ones.

One life each: refused settings, a test of one pilot, settings that change meanwhile, the end. A
module of a batch system has a fixture `desk` and a class that inherits `Faces`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from bench.site import Site, make_site, take_down
from schedulers.base import JobState
from tests.clusters.place import wait_until
from tests.clusters.rig import Rig

STEPS = [
    "node answers", "answers", "submitted", "started", "spoke to this node", "ran a unit",
    "cleaned up",
]  # fmt: skip


class Desk:
    """An admin of one node above one batch system."""

    def __init__(self, rig: Rig, kind: str, commands: Sequence[str]) -> None:
        self.rig = rig
        self.base = Path(tempfile.mkdtemp(prefix="floe-faces-", dir="/tmp"))
        rig.account.give(self.base, 0o755)
        self.site = make_site(self.base, "faces", slots=0, kind=rig.account.site)
        self.plain = (self.site.home / "config.toml").read_text()
        self.usual: dict[str, object] = {
            "kind": kind, "look": "1s", "submit_every": "1s", "idle": "15s", "cpu": 1,
            "memory": "500MB", "disk": "100MB", "python": rig.account.python[-1],
            "commands": {each: rig.command(each) for each in commands},
        }  # fmt: skip

    def configure(self, **more: object) -> None:
        lines = [f"{key} = {toml(value)}" for key, value in {**self.usual, **more}.items()]
        text = "\n".join([self.plain, "[site.main]", *lines, ""])
        (self.site.home / "config.toml").write_text(text)

    def floe(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Whatever its exit status."""
        return attempt(self.site, *words)

    def living(self) -> list[JobState]:
        return [report.state for report in self.rig.listing().values()]

    def close(self) -> None:
        take_down(self.site)
        shutil.rmtree(self.base, ignore_errors=True)


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def attempt(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of floe, whatever its exit status."""
    return subprocess.run(
        site.command(*words),
        env=site.environment,
        cwd=site.home.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def desk_above(make: Callable[[], Rig], kind: str, commands: Sequence[str]) -> Iterator[Desk]:
    """A node above a batch system; it does not run yet."""
    rig = make()
    made: Desk | None = None
    try:
        made = Desk(rig, kind, commands)
        yield made
    finally:
        if made is not None:
            made.close()
        rig.close()


class Faces:
    """wrong: settings that this system refuses, and its own words for that.

    tells_queues: of what they allow.
    """

    wrong: ClassVar[Sequence[tuple[Mapping[str, object], str]]]
    tells_queues: ClassVar[bool] = True

    def test_what_is_refused_is_quoted_and_keeps_the_node_from_being_started(
        self, desk: Desk
    ) -> None:
        desk.configure()
        fine = desk.floe("config", "check")
        assert (fine.returncode, "is fine" in fine.stdout) == (0, True), fine.stdout + fine.stderr
        for settings, words in self.wrong:
            desk.configure(**settings)
            checked = desk.floe("config", "check")
            assert checked.returncode == 1
            assert words in checked.stdout + checked.stderr
            up = desk.floe("up", "--detach")
            assert up.returncode == 1
            assert words in up.stderr
        desk.configure(gpu=60)
        assert desk.floe("config", "check").returncode == 1
        assert not desk.living()

    def test_one_pilot_is_followed_from_its_submission_to_its_end(self, desk: Desk) -> None:
        desk.configure()
        desk.site.up()
        told = desk.site.json("site", "test", "main")
        assert [each["what"] for each in told["steps"]] == STEPS
        assert told["ok"]
        assert not desk.living()
        assert not list((desk.site.home / "pilots" / "main").glob("floe-*"))

    def test_settings_change_while_the_node_runs(self, desk: Desk) -> None:
        desk.configure(url="https://127.0.0.1:1", running_max=3)
        assert "site.main: running_max, url" in desk.site.run("config", "reload")
        told = json.loads(desk.floe("site", "test", "main", "--timeout", "10", "--json").stdout)
        failed = {each["what"]: each for each in told["steps"] if not each["ok"]}
        assert list(failed) == ["spoke to this node"]
        assert "https://127.0.0.1:1" in failed["spoke to this node"]["right"]
        assert not desk.living()
        settings, words = self.wrong[0]
        desk.configure(**settings)
        refused = desk.floe("config", "reload")
        assert refused.returncode == 1
        assert words in refused.stderr
        limits = desk.site.json("site", "limits")["batch"][0]
        assert limits["running_max"] == 3
        assert limits["queues"] or not self.tells_queues
        desk.configure()
        desk.site.run("config", "reload")
        desk.site.run("site", "limits", "main", "--pilots", "1")
        assert desk.site.json("site", "limits")["batch"][0]["running_max"] == 1

    def test_pilots_are_left_drained_or_cancelled_when_the_node_goes_down(self, desk: Desk) -> None:
        needs = ("--memory", "100MB", "--disk", "10MB", "--time", "5m")
        desk.site.run("submit", "--name", "going", *needs, "--jobs", "3", "--", "sleep", "4")

        def running() -> int:
            return int(desk.site.json("show", "going")["counts"]["running"])

        wait_until("a running unit", running, 60)
        desk.site.run("down")
        assert JobState.RUNNING in desk.living()
        desk.site.up()
        wait_until("a running unit", running, 60)
        desk.site.run("down", "--pilots=drain")
        wait_until("the end of all jobs", lambda: not desk.living(), 30)
        desk.site.up()
        counts = desk.site.json("show", "going")["counts"]
        assert counts["settled"] + counts["ready"] == 3  # what they held was finished first
        assert counts["settled"]
        desk.site.run("submit", "--name", "staying", *needs, "--", "sleep", "600")
        wait_until(
            "a running unit", lambda: desk.site.json("show", "staying")["counts"]["running"], 60
        )
        desk.site.run("down", "--pilots=cancel")
        wait_until("the end of all jobs", lambda: not desk.living(), 30)

"""`floe site test`: one unit through the whole site, step by step."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from node.cli.command import Floe
from node.cli.failures import ERROR, OK, no_system
from node.cli.output import (
    duration,
    harmless,
    print_json,
    say,
    say_marked,
    say_wrapped,
    styled,
)
from node.client import Client, ClientError, Json, path_of

LOCAL = "local"
LOCAL_S_MAX, BATCH_S_MAX = 120, 600
POLL_S = 0.3
POLL_S_MAX = 2.0  # once it takes long
# After its unit a pilot leaves, and the batch system has to say so: three listings, and some more.
LOOKS_MAX, MORE_S = 3, 60
# What node/provisioning/probing.py makes a pilot for.
NEEDS = {"memory": "100MB", "disk": "10MB", "time": "60s"}
RAN = "ran a unit"


@dataclass(frozen=True, slots=True)
class Step:
    what: str
    ok: bool
    detail: str = ""
    took_s: float = 0.0
    right: str = ""
    system: str = ""


class Probe:
    """Submits one unit and follows it. Shows each step as soon as it is known."""

    def __init__(
        self,
        floe: Floe,
        timeout_s: float,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        system: str = LOCAL,
    ) -> None:
        self._floe = floe
        self._client: Client = floe.client()
        self._now_s = now_s
        self._sleep = sleep
        self._system = system
        self._until_s = now_s() + timeout_s
        self._last_s = now_s()
        self.steps: list[Step] = []

    def run(self) -> bool:
        """Through whichever pilot takes the unit."""
        try:
            self._timed("node answers", self._ping)
            name = self._timed("took a dataset", lambda: self._submit(self._made()))
            self._timed(RAN, lambda: self._settled(name))
            self._timed("it was on a worker", lambda: self._attempt(name))
        except _StepFailed:
            return False
        return True

    def _timed(self, what: str, act: Callable[[], str]) -> str:
        try:
            detail = act()
        except ClientError as error:
            self._tell(what, False, error.message, error.right)
            raise _StepFailed from None
        self._tell(what, True, detail)
        return detail

    def _tell(self, what: str, ok: bool, detail: str, right: str = "") -> None:
        now_s = self._now_s()
        step = Step(what, ok, detail, now_s - self._last_s, right, self._system)
        self._last_s = now_s
        self.steps.append(step)
        if self._floe.as_json:
            return
        line = styled(f"  {step.what:<22} ")
        line.append("ok  " if step.ok else "FAIL", style="green" if step.ok else "bold red")
        line.append("  ")
        say_marked(line, f"{step.detail}  {duration(step.took_s)}", 4)
        if step.right:
            say_wrapped(f"  → {harmless(step.right)}", "    ")

    def _ping(self) -> str:
        return str(self._client.ping().get("site", ""))

    def _made(self) -> Any:
        """One unit that only this site may run."""
        from node.cli.submission import build
        from node.model import document
        from node.model.oneliner import from_command

        name = f"site-test-{secrets.token_hex(3)}"
        description = from_command(["/bin/true"], name=name)
        description |= {"needs": NEEDS, "sites": {"only": [self._ping()]}}
        return build(document.load(description, Path("/")), None)

    def _submit(self, made: Any) -> str:
        from node.cli.submission import submit_built

        submit_built(self._floe, made)
        return str(made.name)

    def _settled(self, name: str) -> str:
        path = path_of("datasets", name, "wait")
        while True:
            reply = self._client.get(path, {"timeout": 1}, within_s=1)
            if reply.get("done"):
                counts = reply.get("counts") or {}
                if counts.get("settled"):
                    return "settled"
                raise ClientError("the unit failed", f"floe errors {name}")
            if self._now_s() > self._until_s:
                raise ClientError("it does not run", f"floe why {name}/0/main; floe pilots")
            self._sleep(POLL_S)

    def _attempt(self, name: str) -> str:
        attempts: list[Json] = (
            self._client.get(path_of("units", name, 0, "main")).get("attempts") or []
        )
        last: dict[str, Any] = attempts[-1] if attempts else {}
        return f"{last.get('host', '?')}, wall {duration(last.get('wall_s'))}"


class SystemProbe(Probe):
    """A pilot of its own in one batch system, and a unit that no other pilot gets."""

    def run(self) -> bool:
        """Whatever happens, the pilot is ended."""
        try:
            self._timed("node answers", self._ping)
            made = self._made()
            self._timed_order("begin", dataset=made.id.hex())
            try:
                self._follow("spoke to this node")
                name = self._submit(made)
                self._timed(RAN, lambda: self._settled(name))
            finally:
                self._finish()
        except _StepFailed:
            pass
        return all(step.ok for step in self.steps)

    def _order(self, what: str, **more: Any) -> Json:
        body = {"system": self._system, "do": what, **more}
        return self._client.post("/v1/admin/test", body)

    def _timed_order(self, what: str, **more: Any) -> None:
        try:
            self._order(what, **more)
        except ClientError as error:
            self._tell("begins", False, error.message, error.right)
            raise _StepFailed from None

    def _follow(self, last: str) -> None:
        """Tell steps as they come, until the one that is called so. Raises _StepFailed."""
        pause_s = POLL_S
        while not any(step.what == last for step in self.steps):
            late = self._now_s() > self._until_s
            reply = self._order("end" if late else "look")
            self._tell_new(reply, late)
            if late and not any(step.what == last for step in self.steps):
                reply = self._after_end()
                self._tell_new(reply, late)
                raise _StepFailed
            self._sleep(pause_s)
            pause_s = min(POLL_S_MAX, pause_s * 1.2)

    def _after_end(self) -> Json:
        """The steps once the node has asked why it did not go on."""
        self._sleep(POLL_S_MAX)
        return self._order("look")

    def _tell_new(self, reply: Mapping[str, Any], late: bool) -> None:
        """Raises _StepFailed after a step that failed."""
        told = {step.what for step in self.steps}
        for step in reply.get("steps") or []:
            what, ok = str(step.get("what")), step.get("ok")
            if what in told or ok is None:
                continue
            self._tell(what, bool(ok), str(step.get("detail")), str(step.get("right") or ""))
            if not ok:
                raise _StepFailed

    def _finish(self) -> None:
        """Let the pilot go, and wait until nothing is left of it."""
        try:
            reply = self._order("end")
        except ClientError:
            return  # it is over already
        look_s = self._look_s()
        until_s = self._now_s() + LOOKS_MAX * look_s + MORE_S
        while not reply.get("over"):
            last = (reply.get("steps") or [{}])[-1]
            if self._now_s() > until_s:
                self._tell("cleaned up", False, str(last.get("detail")), "floe pilots")
                return
            self._sleep(POLL_S_MAX)
            reply = self._order("look")
        last = (reply.get("steps") or [{}])[-1]
        if last.get("what") == "cleaned up":
            self._tell("cleaned up", bool(last.get("ok")), str(last.get("detail")))

    def _look_s(self) -> float:
        for system in (self._client.get("/v1/site").get("site") or {}).get("batch") or []:
            if system.get("name") == self._system:
                return float(system.get("look_s") or 0)
        return 0.0


class _StepFailed(Exception):
    """The step was told already; nothing after it makes sense."""


def run_probes(floe: Floe, name: str, timeout_s: float | None) -> int:
    """Try the site, or one of its batch systems; the exit status. Raises Failed."""
    systems = (floe.client().get("/v1/site").get("site") or {}).get("batch") or []
    known = [str(each.get("name")) for each in systems]
    if name and name not in known:
        raise no_system(name, known)
    on = [str(each.get("name")) for each in systems if each.get("state") != "off"]
    steps: list[Step] = []
    for each in [name] if name else on or [LOCAL]:
        if not floe.as_json and not name and len(on) > 1:
            say(harmless(each))
        kind, most_s = (Probe, LOCAL_S_MAX) if each == LOCAL else (SystemProbe, BATCH_S_MAX)
        probe = kind(floe, timeout_s or most_s, system=each)
        probe.run()
        steps += probe.steps
    ok = all(step.ok for step in steps)
    if floe.as_json:
        print_json({"ok": ok, "steps": [asdict(step) for step in steps]})
    return OK if ok else ERROR

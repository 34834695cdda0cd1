"""`floe site test`: one unit through the whole site, step by step."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from node.cli.command import Floe
from node.cli.failures import ERROR, OK
from node.cli.output import console, duration, harmless, print_json, say, styled
from node.client import Client, ClientError, Json, path_of

POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    what: str
    ok: bool
    detail: str = ""
    took_s: float = 0.0
    right: str = ""


class Probe:
    """Submits one unit and follows it. Shows each step as soon as it is known."""

    def __init__(
        self,
        floe: Floe,
        timeout_s: float,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._floe = floe
        self._client: Client = floe.client()
        self._until_s = now_s() + timeout_s
        self._now_s = now_s
        self._sleep = sleep
        self.steps: list[Step] = []

    def run(self) -> bool:
        try:
            self._timed("node answers", self._ping)
            name = self._timed("took a dataset", self._submit)
            self._timed("unit ran", lambda: self._settled(name))
            self._timed("it was on a worker", lambda: self._attempt(name))
        except _StepFailed:
            return False
        return True

    def _timed(self, what: str, act: Callable[[], str]) -> str:
        began = self._now_s()
        try:
            detail = act()
        except ClientError as error:
            took_s = self._now_s() - began
            self._tell(Step(what, False, error.message, took_s, error.right))
            raise _StepFailed from None
        self._tell(Step(what, True, detail, self._now_s() - began))
        return detail

    def _tell(self, step: Step) -> None:
        self.steps.append(step)
        if self._floe.as_json:
            return
        line = styled(f"  {step.what:<22} ")
        line.append("ok  " if step.ok else "FAIL", style="green" if step.ok else "bold red")
        line.append(f"  {harmless(step.detail)}  {duration(step.took_s)}")
        console().print(line, soft_wrap=True)
        if step.right:
            say(f"  → {harmless(step.right)}")

    def _ping(self) -> str:
        return str(self._client.ping().get("site", ""))

    def _submit(self) -> str:
        from node.cli.submission import build, submit_built
        from node.model import document
        from node.model.oneliner import from_command

        name = f"site-test-{secrets.token_hex(3)}"
        made = build(document.load(from_command(["/bin/true"], name=name), Path("/")), None)
        submit_built(self._floe, made)
        return name

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


class _StepFailed(Exception):
    """The step was told already; nothing after it makes sense."""


def run_probe(floe: Floe, timeout_s: float) -> int:
    """Try the site; the exit status."""
    probe = Probe(floe, timeout_s)
    ok = probe.run()
    if floe.as_json:
        print_json({"ok": ok, "steps": [asdict(step) for step in probe.steps]})
    return OK if ok else ERROR

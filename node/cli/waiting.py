"""Verbs that stay: watch, wait."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb
from node.cli.failures import ERROR, OK, WORK_FAILED
from node.cli.names import DATASET, Name
from node.cli.output import note, print_json, say
from node.cli.summary import all_settled, counts_of, next_steps, nothing_moves, one_line, view
from node.client import Client, Json, Unreachable, path_of

POLL_S_MAX = 50.0  # of one long poll; the node allows 60
POLL_S_MIN = 0.05  # between two polls, should the node answer at once each time
AWAY_S_FIRST = 0.5  # pause before asking a node again that went away
AWAY_S_MAX = 5.0
WATCH_S = 1.0
WATCH_S_LATER = 3.0  # after a minute: a screen is no reason to load a node
WATCH_LINES_S = 10.0  # between lines where there is no screen


def ended_status(counts: dict[str, int]) -> int:
    return OK if all_settled(counts) else WORK_FAILED


def poll_until_done(
    client: Client,
    dataset: str,
    timeout_s: float | None,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Json:
    """The last reply of /wait: "done" is true, or the time is over.

    A node that was reached once may go away (a restart) and come back. Raises Unreachable when it
    cannot be reached at first.
    """
    began = now_s()
    last: Json | None = None
    away_s = 0.0
    while True:
        left_s = POLL_S_MAX if timeout_s is None else timeout_s - (now_s() - began)
        poll_s = max(0.0, min(POLL_S_MAX, left_s))
        try:
            query = {"timeout": math.ceil(poll_s)}
            last = client.get(path_of("datasets", dataset, "wait"), query, within_s=poll_s)
            away_s = 0.0
        except Unreachable as error:
            if last is None:
                raise
            if not away_s:
                note(f"floe: {error.message}; waiting for it to come back")
            away_s = min(AWAY_S_MAX, max(AWAY_S_FIRST, 2 * away_s))
            sleep(min(away_s, max(0.0, left_s)))
        if last.get("done") and not away_s:
            return last
        if timeout_s is not None and now_s() - began >= timeout_s:
            return last
        if not away_s:
            sleep(POLL_S_MIN)


@verb("wait", examples=["floe wait nugen-26 --timeout 3600 && ./publish.sh"])
@click.argument("dataset", type=DATASET)
@click.option(
    "--timeout", metavar="S", type=click.FloatRange(min=0), help="Give up after S seconds."
)
@json_option
@pass_floe
def wait_verb(floe: Floe, dataset: Name, timeout: float | None) -> int:
    """Return when nothing of DATASET can move any more.

    Exit status: 0 all settled; 3 some failed, are blocked or were cancelled; 1 time over.
    """
    reply = poll_until_done(floe.client(), dataset.dataset, timeout)
    counts = counts_of(reply)
    done = bool(reply.get("done"))
    if floe.as_json:
        print_json({"done": done, "counts": counts})
    elif not done:
        note(f"floe: time over; {one_line(named(reply, dataset))}")
    elif not all_settled(counts):
        note(f"floe: {one_line(named(reply, dataset))}")
        for line in next_steps(dataset.dataset, counts):
            note(f"      {line}")
    if not done:
        return ERROR
    return ended_status(counts)


def named(reply: Json, dataset: Name) -> Json:
    return {"dataset": {"name": dataset.dataset}, **reply}


@verb("watch", examples=["floe watch last", "floe watch nugen-26 --once"])
@click.argument("dataset", type=DATASET)
@click.option("--once", is_flag=True, help="Draw it once.")
@json_option
@pass_floe
def watch_verb(floe: Floe, dataset: Name, once: bool) -> int:
    """Follow DATASET on the screen until nothing can move; Ctrl-C leaves it running.

    Exit status as of floe wait. With --json, one object a line whenever the counts changed.
    """
    client = floe.client()
    path = path_of("datasets", dataset.dataset)
    first = client.get(path)
    identity = str((first.get("dataset") or {}).get("id") or dataset.dataset)
    watcher = _Watcher(client, path_of("datasets", identity), first)
    if floe.as_json:
        return watcher.lines(once, _json_line, WATCH_S)
    if once or not sys.stdout.isatty():
        return watcher.lines(once, lambda reply: say(one_line(reply)), WATCH_LINES_S)
    return watcher.screen()


def _json_line(reply: Json) -> None:
    import json

    print(json.dumps({"schema": 1, **reply}, separators=(",", ":")), flush=True)


class _Watcher:
    """Asks for one dataset again and again, through restarts of the node."""

    def __init__(self, client: Client, path: str, first: Json) -> None:
        self._client = client
        self._path = path
        self._reply = first
        self._began_s = time.monotonic()
        self._away = ""

    def _next(self, pause_s: float) -> Json:
        time.sleep(pause_s)
        try:
            self._reply = self._client.get(self._path)
            self._away = ""
        except Unreachable as error:
            self._away = error.message
        return self._reply

    def _done(self) -> bool:
        return not self._away and nothing_moves(counts_of(self._reply))

    def lines(self, once: bool, show: Callable[[Json], None], between_s: float) -> int:
        shown: Any = None
        shown_s = float("-inf")
        while True:
            counts = counts_of(self._reply)
            due = time.monotonic() - shown_s >= between_s
            if (counts != shown and due) or self._done():
                show(self._reply)
                shown, shown_s = counts, time.monotonic()
            if once or self._done():
                return ended_status(counts) if self._done() else OK
            self._next(WATCH_S)

    def screen(self) -> int:
        from rich.live import Live

        from node.cli.output import console

        try:
            with Live(self._picture(), console=console(), auto_refresh=False) as live:
                while not self._done():
                    slow = time.monotonic() - self._began_s > 60
                    self._next(WATCH_S_LATER if slow else WATCH_S)
                    live.update(self._picture(), refresh=True)
        except KeyboardInterrupt:
            note("it goes on; look again with floe watch")
            raise
        return ended_status(counts_of(self._reply))

    def _picture(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        if not self._away:
            return view(self._reply)
        return Group(view(self._reply), Text(f"  {self._away}; asking again", style="yellow"))

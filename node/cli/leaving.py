"""`floe down --pilots`: have the pilots of a node leave, and wait for their last reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from node.cli.command import Floe
from node.cli.output import harmless, note, plural
from node.client import Client
from node.daemon import alive

END_S_MAX = 30.0  # of those that are to end now: a pilot's grace time is shorter
QUEUE_END_S_MAX = 90.0  # and where a batch system has to pass it on
LOOK_S = 0.1
LOOK_S_MAX = 2.0  # between two looks, once it takes long
PROCESSES_END_S_MAX = 15.0  # of pilots that have said their last


def send_away(
    floe: Floe,
    how: str,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[int], list[str]]:
    """Give the order, and wait: "drain" as long as it takes, "cancel" for their last reports.

    Gives the processes of the node's own pilots, some of which may take a moment longer, and why
    jobs may still be there in batch systems.
    """
    client = floe.client()
    pids = [int(pilot["pid"]) for pilot in _own(client) if pilot.get("pid")]
    began_s, pause_s, told = now_s(), LOOK_S, ""
    while True:
        reply = client.post("/v1/admin/pilots", {"how": how})
        hindrances = [str(each) for each in reply.get("hindrances") or []]
        words = left(reply)
        if not words:
            return pids, _told(hindrances)
        waited_s = now_s() - began_s
        most_s = QUEUE_END_S_MAX if reply.get("jobs") or reply.get("asking") else END_S_MAX
        if how == "cancel" and waited_s > most_s:
            note(f"floe: still ending: {words}; they report when the node is up again")
            return pids, _told(hindrances)
        if how == "cancel" and not told and (reply.get("pilots") or reply.get("jobs")):
            note(f"floe: ending {words}")
            told = words
        if how == "drain" and words != told:
            note(f"floe: waiting for {words}; Ctrl-C leaves the node up, draining")
            told = words
        sleep(pause_s)
        pause_s = min(LOOK_S_MAX, pause_s * 1.2)


def left(reply: Mapping[str, Any]) -> str:
    """What is still there, in words; "" if nothing is."""
    pilots = max(int(reply.get("pilots") or 0), int(reply.get("local") or 0))
    jobs = int(reply.get("jobs") or 0)
    words = [plural(pilots, "pilot")] if pilots else []
    words += [plural(jobs - pilots, "job")] if jobs > pilots else []
    if not words and reply.get("asking"):
        return "an answer of a batch system"
    return " and ".join(words)


def _told(hindrances: Sequence[str]) -> list[str]:
    for each in hindrances:
        note(f"floe: {harmless(each)}")
    return list(hindrances)


def _own(client: Client) -> list[dict[str, Any]]:
    """Those that the node started on its own machine."""
    here = client.get("/v1/pilots")["pilots"]
    return [pilot for pilot in here if str(pilot["tag"]).startswith("local-")]


def wait_gone(
    pids: Sequence[int],
    within_s: float = PROCESSES_END_S_MAX,
    sleep: Callable[[float], None] = time.sleep,
) -> list[int]:
    """Wait until these processes have ended; those that have not within the time."""
    left = [pid for pid in pids if alive(pid)]
    for _ in range(round(within_s / LOOK_S)):
        if not left:
            break
        sleep(LOOK_S)
        left = [pid for pid in left if alive(pid)]
    return left

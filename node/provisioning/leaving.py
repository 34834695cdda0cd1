"""Batch systems that config.toml leaves out, or whose name it gives to another one.

Their jobs are there still. So it is remembered how each batch system was last spoken to, and one
with jobs is followed to the end of the last of them: what waits is cancelled, what runs finishes
what it holds, nothing is submitted. What the settings say of its name now begins after that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import apsw

from node.provisioning.changes import where
from node.provisioning.settings import SystemConfig, check_tools
from node.store import submissions as store

_WAY: Final = (
    "kind", "host", "url", "tunnel", "ssh", "python", "commands", "more", "look_s", "announce_s",
)  # fmt: skip


@dataclass(slots=True)
class Roster:
    """Which batch systems a node begins with."""

    begin: list[SystemConfig] = field(default_factory=list)
    leaving: dict[str, str] = field(default_factory=dict)  # of these: why they get no more pilots
    later: dict[str, SystemConfig] = field(default_factory=dict)  # what has the name of one of them
    strays: list[str] = field(default_factory=list)  # what cannot be followed, for people


def roster(conn: apsw.Connection, wanted: Sequence[SystemConfig]) -> Roster:
    """wanted: what config.toml says."""
    named, left = {each.name: each for each in wanted}, []
    found = Roster()
    for name, count in store.living(conn):
        before, new = load(name, store.settings(conn, name)), named.get(name)
        if new is not None and (before is None or where(before) == where(new)):
            continue
        if before is None:
            found.strays.append(
                f"site.{name} is not in config.toml any more, but {count} of its submissions are "
                "not over; put it back until its pilots are gone"
            )
            continue
        left.append(let_go(before))
        found.leaving[name] = why(new)
        if new is not None:
            found.later[name] = new
    found.begin = [*(each for each in wanted if each.name not in found.later), *left]
    return found


def why(new: SystemConfig | None) -> str:
    """There are no more pilots; new: what has the name now."""
    if new is None:
        return "config.toml does not name it any more: its pilots are let go unless it is put back"
    at = f" at {new.host}" if new.host else ""
    return f"its name is that of {new.kind}{at} now, which begins when these pilots are gone"


def let_go(settings: SystemConfig) -> SystemConfig:
    """As before, with room for no pilot."""
    return replace(settings, pilots_min=0, queued_max=0, running_max=0)


def dump(settings: SystemConfig) -> str:
    """How it is spoken to."""
    found = {name: getattr(settings, name) for name in _WAY}
    found |= {name: dict(found[name]) for name in ("ssh", "commands", "more")}
    return json.dumps(found, sort_keys=True)


def load(name: str, text: str) -> SystemConfig | None:
    """What `dump` wrote; None if that is nothing, or of no use to this version."""
    try:
        found = json.loads(text)
        settings = SystemConfig(name, **{key: found[key] for key in _WAY if key in found})
        check_tools(settings)
    except (KeyError, TypeError, ValueError):
        return None
    return settings

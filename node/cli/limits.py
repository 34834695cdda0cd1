"""`floe site limits`: how many pilots there may be, and what queues allow each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node.cli.command import Floe
from node.cli.failures import no_system
from node.cli.output import duration, harmless, number, print_json, say, table
from node.cli.siteviews import print_queues
from node.client import Json

LOCAL = "local"


def limits(floe: Floe, name: str, pilots: int | None, queued: int | None) -> None:
    """Change what is given, and show what counts now. Raises Failed."""
    asked = {"system": name or LOCAL, "pilots_max": pilots, "queued_max": queued}
    change = (pilots, queued) != (None, None)
    body = {key: value for key, value in asked.items() if value is not None} if change else {}
    reply = floe.client().post("/v1/admin/limits", body)
    systems = [each for each in reply.get("batch") or [] if isinstance(each, dict)]
    known = [LOCAL, *(str(each.get("name")) for each in systems)]
    if name and name not in known:
        raise no_system(name, known)
    if floe.as_json:
        print_json(reply)
        return
    here = reply.get("limits")
    local: Json = here if isinstance(here, dict) else {}
    # No pilots on this machine: not worth a row, unless that is what was asked or changed.
    rows = name == LOCAL or (not name and bool(change or not systems or local.get("pilots_max")))
    _print([_local(local)] if rows else [], systems, name)
    if change:
        say(f"until {harmless((here or {}).get('until', 'the next start of the node'))}")


def _print(rows: list[list[object]], systems: Sequence[Mapping[str, Any]], name: str) -> None:
    """rows: of what is no batch system."""
    shown = [each for each in systems if name in ("", each.get("name"))]
    rows += [_system(each) for each in shown]
    table(["BATCH", ">PILOTS", ">AT LEAST", ">QUEUED", ">AT ONCE", ">EVERY", ">LOOK"], rows)
    for each in shown:
        if queues := each.get("queues"):
            say(f"{harmless(each.get('name', '?'))}: what its queues allow one pilot")
            print_queues(queues)


def _local(here: Json) -> list[object]:
    return [LOCAL, number(here.get("pilots_max")), number(here.get("pilots_min")), *["-"] * 4]


def _system(each: Mapping[str, Any]) -> list[object]:
    return [
        harmless(each.get("name", "?")),
        number(each.get("running_max")),
        number(each.get("pilots_min")),
        number(each.get("queued_max")),
        number(each.get("submit_max")),
        duration(each.get("submit_s")),
        duration(each.get("look_s")),
    ]

"""How a site is shown: its batch systems, what its workers offer, workers that get no units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from node.cli.command import Floe
from node.cli.facts import fact_lines
from node.cli.failures import NOT_FOUND, Failed
from node.cli.meshviews import short_age
from node.cli.output import (
    duration,
    harmless,
    number,
    plural,
    print_json,
    say,
    say_wrapped,
    size,
    state,
    table,
)
from node.client import Json, Refused, path_of

HANG = "    "
SETTINGS = (
    "pilots_min", "pilots_max", "queued_max", "running_max", "submit_max", "submit_s", "look_s",
    "slots", "gpus", "memory_bytes", "disk_bytes", "lifetime_s", "idle_s",
)  # fmt: skip


def show_site(floe: Floe, name: str) -> None:
    """This site; by its name one of its batch systems, or another site. Raises Failed."""
    site: Json = floe.client().get("/v1/site").get("site") or {}
    systems = {str(each.get("name")): each for each in _rows(site, "batch")}
    found: Json = {"site": site}
    if not name:
        draw = partial(print_site, site)
    elif name in systems:
        found, draw = {"system": dict(systems[name])}, partial(print_system, systems[name])
    else:
        other = _member(floe, name, systems)
        found, draw = {"site": other}, partial(print_member, other)
    if floe.as_json:
        print_json(found)
    else:
        draw()


def _member(floe: Floe, name: str, systems: Iterable[str]) -> Json:
    """What another site says of itself. Raises Failed."""
    try:
        found = floe.client().get(path_of("mesh", "sites", name)).get("site")
    except Refused as error:
        if error.code != "not-found":
            raise
        raise Failed(
            f"{error.message}, and no batch system of this site",
            f"batch systems: {', '.join(map(harmless, systems))}; {error.right}",
            code="not-found",
            exit_status=NOT_FOUND,
        ) from None
    return found if isinstance(found, dict) else {}


def print_member(site: Mapping[str, Any]) -> None:
    """Another site, by its newest beacon."""
    seen = site.get("last_seen_s")
    heard = "not heard yet" if seen is None else f"heard {short_age(seen)} ago"
    words = [
        f"{harmless(site.get('name', '?'))}·{harmless(site.get('key', ''))[:8]}",
        harmless(site.get("state", "?")),
        harmless(site.get("version") or "?"),
        "this site" if site.get("own") else heard,
    ]
    say(" · ".join(words))
    batch = [harmless(each) for each in site.get("batch") or []]
    say(f"batch     {', '.join(batch) or '-'}")
    say(
        f"pilots    {number(site.get('pilots'))} up, {number(site.get('running'))} units running,"
        f" {number(site.get('ready'))} ready"
    )
    for each in _rows(site, "workers"):
        say(f"workers   {_workers_line(each)}")
    print_hosts(_rows(site, "bans"))
    if (more := int(site.get("barred") or 0) - len(_rows(site, "bans"))) > 0:
        say(f"and {number(more)} more workers that get no units: floe site show, there")
    say(f"  → floe mesh why {harmless(site.get('name', '?'))}")


def _workers_line(each: Mapping[str, Any]) -> str:
    parts = [f"{number(each.get('cpu'))} CPU"]
    parts += [f"{number(each['gpu'])} GPU"] if each.get("gpu") else []
    parts += [f"{size(each.get('memory_bytes'))} memory", f"{size(each.get('disk_bytes'))} disk"]
    parts += [f"for {duration(each['time_s'])}"] if each.get("time_s") else []
    have = (
        f"{number(each.get('count'))} of them or to be had, {number(each.get('idle'))} cores idle"
    )
    return f"{', '.join(parts)}: {have}"


def print_site(site: Json) -> None:
    """Who it is; a line for each batch system and what is wrong there; what workers offer."""
    words = [
        f"{harmless(site.get('name', '?'))}·{harmless(site.get('key', ''))[:8]}",
        harmless(site.get("state", "?")),
        harmless(site.get("version", "?")),
        harmless(site.get("api", "?")),
    ]
    say(" · ".join(words))
    if site.get("draining"):
        say_wrapped(f"! drained {harmless(site['draining'])}: nothing new starts here")
    systems = _rows(site, "batch")
    _print_systems([each for each in systems if len(systems) == 1 or each.get("state") != "off"])
    for system in systems:
        _print_troubles(system)
    _print_offers(site)
    print_hosts(_rows(site, "hosts"))
    if _rows(site, "hosts"):
        say("  → once one is mended: floe site allow HOST")


def print_system(system: Mapping[str, Any]) -> None:
    """One batch system with its limits, its kinds of pilots, and its queues."""
    _print_systems([system])
    _print_troubles(system)
    if system.get("foreign"):
        say(f"  {plural(system['foreign'], 'job')} with a tag that this node did not write")
    if urls := system.get("urls"):
        say_wrapped(f"workers reach this node at {' or '.join(map(harmless, urls))}")
    say("settings")
    for line in fact_lines({key: system[key] for key in SETTINGS if key in system}, "  "):
        say(line)
    _print_factories(_rows(system, "factories"))
    if queues := _rows(system, "queues"):
        say("queues, as the batch system tells")
        print_queues(queues)


def _print_systems(systems: Sequence[Mapping[str, Any]]) -> None:
    table(
        ["BATCH", "KIND", "STATE", ">RUN", ">QUEUED", ">HELD", ">UNKNOWN", ">LOOKED", "VERSION"],
        [_system_cells(system) for system in systems],
    )


def _system_cells(system: Mapping[str, Any]) -> list[object]:
    states = system.get("states")
    counts: Mapping[str, Any] = states if isinstance(states, dict) else {}
    batch = isinstance(states, dict)
    unsure = int(counts.get("unknown", 0)) + int(counts.get("in doubt", 0))
    looked = system.get("looked_s_ago")
    version = [harmless(system.get("version") or "")]
    if system.get("host"):
        version.append(f"at {harmless(system['host'])}")
    return [
        harmless(system.get("name", "?")),
        harmless(system.get("kind", "?")),
        state(system.get("state", "?")),
        _of(system.get("running"), system.get("running_max")),
        _of(system.get("queued"), system.get("queued_max")) if batch else "-",
        number(counts.get("held", 0)) if batch else "-",
        number(unsure) if batch else "-",
        f"{duration(looked)} ago" if looked is not None else "never" if batch else "-",
        " ".join(each for each in version if each) or "-",
    ]


def _of(value: object, most: object) -> str:
    return f"{number(value)} of {number(most)}"


def _print_troubles(system: Mapping[str, Any]) -> None:
    """What is wrong there now, with "!", and what was; why pilots wait."""
    name = harmless(system.get("name", "?"))
    if leaving := harmless(system.get("leaving") or ""):
        say_wrapped(f"! {name}: {leaving}", HANG)
    for breaker in _rows(system, "breakers"):
        shape, why = harmless(breaker.get("shape", "?")), harmless(breaker.get("why", "?"))
        say_wrapped(f"! {name}: {shape}: {why}", HANG)
    for limit in _rows(system, "limits"):
        shape, why = harmless(limit.get("shape", "?")), harmless(limit.get("why", "?"))
        say_wrapped(f"- {name}: {shape}: {why}", HANG)
    trouble = harmless(system.get("trouble") or "")
    told = [*_rows(system, "breakers"), *_rows(system, "limits")]
    reasons = [harmless(each["reason"]) for each in told if each.get("reason")]
    if isinstance(away := system.get("away"), dict):
        why = harmless(away.get("why", "?"))
        say_wrapped(f"! {name}: {why}; next try in {duration(away.get('again_s'))}", HANG)
        reasons.append(why)
    if trouble and not any(reason in trouble for reason in reasons):
        ago = system.get("trouble_s_ago")
        looked = system.get("looked_s_ago")
        old = isinstance(ago, int | float) and isinstance(looked, int | float) and looked < ago
        when = f"last error, {duration(ago)} ago: " if old else ""
        say_wrapped(f"{'-' if old else '!'} {name}: {when}{trouble}", HANG)
    if silent := int(system.get("silent") or 0):
        many, long = plural(silent, "running pilot"), duration(system.get("silent_s"))
        words = "units run elsewhere, and limits count such pilots until their end is told"
        say_wrapped(f"! {name}: {many} silent for up to {long}; {words}", HANG)
    for words in system.get("waits") or []:
        say_wrapped(f"- {name}: {harmless(words)}", HANG)


def _print_offers(site: Json) -> None:
    for offer in site.get("workers") or ["there are none, and none can be started"]:
        say_wrapped(f"workers   {harmless(offer)}", " " * 10)
    isolation = [harmless(each) for each in site.get("isolation") or [] if each]
    say(f"isolation {', '.join(isolation) or 'not known: no pilot is up'}")


def print_hosts(hosts: Sequence[Mapping[str, Any]]) -> None:
    """Workers that get no units; nothing if there is none."""
    if not hosts:
        return
    say("workers that get no units")
    table(
        ["HOST", "UNITS AGAIN", "WHY"],
        [
            [
                harmless(each.get("host", "?")),
                f"in {duration(each['banned_s'])}" if each.get("banned_s") else "when others tried",
                harmless(each.get("why", "?")),
            ]
            for each in hosts
        ],
    )


def _print_factories(factories: Sequence[Mapping[str, Any]]) -> None:
    if not factories:
        return
    say("kinds of pilots (- follows the units that are ready)")
    table(
        ["NAME", ">CPU", ">GPU", ">MEMORY", ">DISK", "TIMES", "QUEUE", "ACCOUNT"],
        [_factory_cells(each) for each in factories],
    )


def _factory_cells(each: Mapping[str, Any]) -> list[object]:
    times = [duration(value) for value in each.get("times_s") or []]
    return [
        harmless(each.get("name", "?")),
        number(each.get("cpu")),
        number(each.get("gpu")),
        size(each.get("memory_bytes")),
        size(each.get("disk_bytes")),
        " ".join(times) or "-",
        harmless(each.get("queue") or "-"),
        harmless(each.get("account") or "-"),
    ]


def print_queues(queues: Sequence[Mapping[str, Any]]) -> None:
    """What each of them allows one pilot."""
    table(
        ["NAME", ">TIME", ">CPU", ">GPU", ">MEMORY", "NOTE"],
        [_queue_cells(each) for each in queues],
    )


def _queue_cells(each: Mapping[str, Any]) -> list[object]:
    notes = ["default"] if each.get("default") else []
    if not each.get("open", True):
        notes.append(f"not open: {harmless(each.get('words') or 'no reason given')}")
    elif each.get("words"):
        notes.append(harmless(each["words"]))
    return [
        harmless(each.get("name", "?")),
        duration(each.get("time_s_max")),
        number(each.get("cpu_max")),
        number(each.get("gpu_max")),
        size(each.get("memory_bytes_max")),
        ", ".join(notes),
    ]


def _rows(reply: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    return [row for row in reply.get(name) or [] if isinstance(row, dict)]

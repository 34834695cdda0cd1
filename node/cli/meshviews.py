"""How the mesh is shown: its sites, links and shards as tables, and why a site is as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node.cli.output import (
    duration,
    harmless,
    number,
    plural,
    say,
    say_wrapped,
    size,
    state,
    styled,
    table,
)
from node.client import Json

WHY_HANG = " " * 9  # below the text, behind the mark


def print_mesh(reply: Json) -> None:
    """One line a site, and below them what is not as it should be."""
    sites = _rows(reply, "sites")
    for line in mesh_lines(reply):
        say(line)
    table(
        ["SITE", "STATE", "SEEN", ">LAG", ">CLOCK", "VERSION", "BATCH", ">RUN", ">READY",
         ">PILOTS", "NOTE"],
        [_site_cells(site) for site in sites],
    )  # fmt: skip
    for alarm in reply.get("alarms") or []:
        say_wrapped(f"! {harmless(alarm)}")


def mesh_lines(reply: Json) -> list[str]:
    """MESH madison · 5 sites · 4 alive, 1 unreachable · everything settled up to 12 s ago"""
    sites = _rows(reply, "sites")
    members = [site for site in sites if site.get("state") != "revoked"]
    counted: dict[str, int] = {}
    for site in sites:
        name = str(site.get("state"))
        counted[name] = counted.get(name, 0) + 1
    states = ", ".join(f"{count} {harmless(name)}" for name, count in counted.items())
    settled = harmless(reply.get("settled", "?"))
    if len(members) == 1:
        settled += ", on this site's disk alone"
    name = harmless(reply.get("mesh", "?"))
    return [f"MESH {name} · {plural(len(members), 'site')} · {states} · {settled}"]


def _site_cells(site: Mapping[str, Any]) -> list[object]:
    own, away = bool(site.get("own")), site.get("state") in ("unreachable", "revoked")
    unheard = not own and site.get("state") != "revoked" and site.get("last_seen_s") is None
    return [
        harmless(site.get("name", "?")) + ("*" if own else ""),
        state(site.get("state")),
        "-" if own else short_age(site.get("last_seen_s")),
        "-" if own else _known(site.get("lag_entries"), away),
        "-" if own else clock(site.get("clock_offset_s")),
        site.get("version") or "?",
        " ".join(harmless(each) for each in site.get("batch") or []) or "-",
        _guess(site.get("running"), away),
        number(site.get("ready")),
        _guess(site.get("pilots"), away),
        site.get("note") or ("not heard yet" if unheard else ""),
    ]


def _guess(value: object, away: bool) -> str:
    """A count that is as old as the site's last word."""
    return number(value) + ("?" if away and value is not None else "")


def _known(value: object, away: bool) -> str:
    return "?" if away or value is None else number(value)


def clock(offset_s: object) -> str:
    """How far another site's clock is from ours: +0.1 s, -3 d."""
    if not isinstance(offset_s, int | float):
        return "?"
    if abs(offset_s) < 60:
        return f"{offset_s:+.1f} s"
    return f"{'+' if offset_s > 0 else '-'}{short_age(abs(offset_s))}"


def short_age(seconds: object) -> str:
    """3 s, 41 m, 7 h, 2 d; ? for never."""
    if not isinstance(seconds, int | float):
        return "?"
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def print_links(reply: Json) -> None:
    links = _rows(reply, "links")
    if not links:
        say("no links: this site is alone, or nobody could be dialled yet")
        return
    table(
        ["PEER", "LINK", "PATH", "HANDSHAKE", ">RTT", ">SENT", ">RECEIVED", ">CREDITS",
         ">RESENDS", "LAST ERROR"],
        [_link_cells(link) for link in links],
    )  # fmt: skip


def _link_cells(link: Mapping[str, Any]) -> list[object]:
    up = bool(link.get("up"))
    kind = link.get("kind")
    words = str(link.get("direction") or "up") + ("" if kind in (None, "records") else f" {kind}")
    shown = styled(words, "green") if up else styled("down", "red")
    rtt = link.get("rtt_ms")
    credits = [each for each in link.get("credits") or [] if isinstance(each, int)]
    error = harmless(link.get("error") or "")
    if error and link.get("tried_s") is not None:
        error += f" ({short_age(link['tried_s'])} ago)"
    return [
        harmless(link.get("peer", "?")),
        shown,
        harmless(link.get("path") or "-"),
        f"{duration(link.get('handshake_s'))} ago" if up else "-",
        f"{rtt:.0f} ms" if isinstance(rtt, int | float) else "-",
        size(link.get("sent_bytes")),
        size(link.get("received_bytes")),
        " ".join(size(each) for each in credits) or "-",
        number(link.get("resends")),
        error,
    ]


def print_shards(reply: Json) -> None:
    shards = _rows(reply, "shards")
    if not shards:
        say("no shards: nothing was submitted in this mesh yet")
        return
    table(
        ["SHARD", "LEADER", ">TERM", "COUNCIL", ">DATASETS", ">OPEN", ">LOG", ">SETTLED", "NOTE"],
        [_shard_cells(shard) for shard in shards],
    )


def _shard_cells(shard: Mapping[str, Any]) -> list[object]:
    closed = set(shard.get("closed") or [])
    council = [
        f"({harmless(each)})" if each in closed else harmless(each)
        for each in shard.get("council") or []
    ]
    leader = harmless(shard.get("leader", "?"))
    leader_state = str(shard.get("leader_state"))
    gone = "" if leader_state == "alive" else f" ({harmless(leader_state)})"
    return [
        harmless(shard.get("name", "?")),
        styled(leader + gone, "" if not gone else "yellow"),
        number(shard.get("term")),
        ", ".join(council),
        number(shard.get("datasets")),
        number(shard.get("open")),
        number(shard.get("position")),
        number(shard.get("settled")),
        "; ".join(_shard_notes(shard)),
    ]


def _shard_notes(shard: Mapping[str, Any]) -> list[str]:
    notes = []
    if shard.get("forced"):
        notes.append("forced on by an admin")
    if shard.get("still_brief"):
        notes.append(harmless(shard["still_brief"]))
    elif shard.get("mute_s") is not None:
        notes.append(
            f"no commit of its leader for {short_age(shard['mute_s'])}, voters wait"
            f" {short_age(shard.get('vote_after_s'))}"
        )
    if shard.get("unsettled_s") is not None:
        notes.append(f"oldest unsettled record {short_age(shard['unsettled_s'])} ago")
    if shard.get("waits"):
        notes.append(f"{number(shard['waits'])} records wait for results")
    if shard.get("vote_term") and shard["vote_term"] > (shard.get("term") or 0):
        voters = ", ".join(harmless(each) for each in shard.get("votes") or [])
        notes.append(f"vote for term {number(shard['vote_term'])} by {voters}")
    return notes


def print_why(reply: Json) -> None:
    why = reply.get("why") or {}
    say(f"{harmless(reply.get('site', '?'))} · {harmless(reply.get('key', ''))[:8]}")
    say(harmless(why.get("summary", "?")))
    for line in why.get("lines") or []:
        say_wrapped(
            f"  {harmless(line.get('mark', '')):6} {harmless(line.get('text', ''))}", WHY_HANG
        )
    for step in why.get("next") or []:
        say(f"  → {harmless(step)}")


def print_verified(reply: Json) -> None:
    """Whether the sites that answered hold the same tables where they can be compared."""
    rows = _rows(reply, "compared")
    if rows:
        table(
            ["SITE", "SHARD", ">POSITION", "STATE ROOT", "EQUAL"], list(map(_compared_cells, rows))
        )
    for name, why in (reply.get("silent") or {}).items():
        say_wrapped(f"! {harmless(name)} was not compared: {harmless(why)}")
    if not rows:
        say("nothing was compared: no other site holds a log that this one has, or answered")
    elif reply.get("equal"):
        say(f"equal at every common position ({plural(len(rows), 'comparison')})")
    else:
        say(
            "NOT EQUAL: please report this; floe store rebuild on the site that differs tries again"
        )


def _compared_cells(row: Mapping[str, Any]) -> list[object]:
    return [
        harmless(row.get("site", "?")),
        harmless(row.get("name") or row.get("shard", "?")),
        number(row.get("position")),
        harmless(row.get("root", ""))[:16],
        styled("yes", "green") if row.get("equal") else styled("NO", "bold red"),
    ]


def _rows(reply: Json, name: str) -> Sequence[Mapping[str, Any]]:
    return [row for row in reply.get(name) or [] if isinstance(row, dict)]

"""`floe mesh why SITE`, and what `floe mesh` shouts: what is wrong, and what to do. Pure.

The rule of all of it: say what is true, how old it is, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from federation.pulse import Health
from node.services.meshfacts import MeshFacts, ShardFact, SiteFact
from node.services.why import Why

CLOCK_S_MAX = 300.0  # further off is said, though nothing depends on it


def why_site(facts: MeshFacts, site: SiteFact) -> Why:
    """Explain the state of one member."""
    why = Why(site.state.value, _headline(site))
    if site.state is Health.REVOKED:
        why.add("block", "an admin revoked it, for ever: its links are cut, its acts do not count")
        return why
    if site.own:
        why.add("ok", "this is the site that you ask")
        for trouble in site.troubles:
            why.add("block", trouble)
        if astray := _astray(facts):
            why.add("wait", f"{astray}; only shown times suffer")
    _add_copies(why, site)
    _add_links(why, facts, site)
    _add_units(why, facts, site)
    _add_shards(why, facts, site)
    _add_oddities(why, site)
    _add_next(why, facts, site)
    return why


def alarms(facts: MeshFacts) -> list[str]:
    """The lines that `floe mesh` shows below its table, each with what follows from it."""
    lines, astray = list(facts.alarms), _astray(facts)
    if astray:
        lines.append(f"{facts.own().name}: {astray} (shown times only)")
    for site in facts.sites:
        lines += [f"{site.name}: {trouble}" for trouble in site.troubles]
        if site.state is Health.UNREACHABLE:
            lines.append(_unreachable_line(facts, site))
        elif site.barred:
            lines.append(f"{site.name}: {_barred(site)}. floe site show {site.name}")
        if site.broken:
            lines.append(
                f"{site.name}: {_breaches(site)}: {site.broken_how}. floe mesh why {site.name}"
            )
        if not astray and _is_off(site):
            lines.append(f"{site.name}: its clock is {_offset(site.clock_s)} (shown times only)")
    return lines + [
        f"shard {shard_name(shard)}: {words}"
        for shard in facts.shards
        for words in _shard_alarms(shard)
    ]


def _astray(facts: MeshFacts) -> str:
    """That it is this site whose clock is wrong, as all others differ from it in one way; or ""."""
    told = [each.clock_s for each in facts.sites if each.clock_s is not None]
    off = sorted(-each for each in told if abs(each) > CLOCK_S_MAX)
    if len(off) < max(2, len(told)) or off[0] * off[-1] < 0:
        return ""
    return f"the clock here is {_offset(off[len(off) // 2])}, say all {len(off)} other sites"


def _is_off(site: SiteFact) -> bool:
    return site.clock_s is not None and abs(site.clock_s) > CLOCK_S_MAX


def _shard_alarms(shard: ShardFact) -> Iterator[str]:
    if shard.stands_still:
        yield shard.stands_still + (". floe mesh recover" if shard.for_good else "")
    if _is_heard(shard) and shard.mute_s is not None:
        yield (
            f"{shard.leader} leads it and is there, but shows no commit for"
            f" {shown_age(shard.mute_s)}: its disk may be full. floe mesh why {shard.leader}"
        )
    if shard.vote_term > shard.term:
        voters = ", ".join(shard.votes)
        yield (f"a vote for term {shard.vote_term} is under way: {voters} of {len(shard.council)}")
    if shard.waits:
        yield f"{shard.waits:,} log records wait for results that are not here yet"


def fork_line(name: str, generation: int, newest: int) -> str:
    """That a site signed two entries for one place of its feeds, and whether it has gone on."""
    on = f"it goes on under generation {newest}" if newest > generation else "its acts wait"
    return (
        f"{name}: two copies of it wrote generation {generation} of its feeds; {on}."
        f" floe mesh why {name}"
    )


def twin_line(name: str, ago_s: float) -> str:
    """That two processes with the key of a site wanted links, so long ago."""
    return (
        f"{name}: two nodes with its key ran {shown_age(ago_s)} ago; one of them is kept out."
        f" floe mesh why {name}"
    )


def settled_line(facts: MeshFacts) -> str:
    """How far everything is settled, for the headline."""
    # A shard whose datasets have all moved on may have lost its majority: nobody needs it.
    behind = [each for each in facts.shards if each.unsettled and each.datasets]
    if not behind:
        unheard = [each for each in facts.shards if each.is_needed and not _is_heard(each)]
        if unheard:
            return f"every log record that came is settled; nothing comes from {_leaders(unheard)}"
        return "every log record is settled"
    records = sum(each.unsettled for each in behind)
    ages = [each.unsettled_s for each in behind if each.unsettled_s is not None]
    if not ages:
        return f"{records:,} log records are not settled yet"
    return f"everything settled up to {shown_age(max(ages))} ago"


def _is_heard(shard: ShardFact) -> bool:
    """Whether a newer record of its log would have come."""
    return shard.leader_state not in (Health.UNREACHABLE, Health.REVOKED)


def _leaders(shards: Sequence[ShardFact]) -> str:
    return ", ".join(dict.fromkeys(each.leader for each in shards))


def shard_name(shard: ShardFact) -> str:
    """madison/4f3a: its founder, and the beginning of its id."""
    return f"{shard.founder}/{shard.id.hex()[:4]}"


def shown_age(seconds: float | None) -> str:
    """12 s, 41 m, 3 h, 2 d; ? for what is not known."""
    if seconds is None:
        return "?"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _headline(site: SiteFact) -> str:
    if site.state is Health.UNREACHABLE:
        return f"{site.name} is unreachable from here (last heard {shown_age(site.seen_s)} ago)"
    if site.state is Health.SUSPECT:
        if site.seen_s is None:
            return f"{site.name} was not heard yet; that takes up to a minute"
        return f"{site.name} is silent for {shown_age(site.seen_s)}; that may pass"
    if site.state is Health.DRAINED:
        return f"{site.name} is drained: it takes no new units" + _noted(site)
    if site.state is Health.REVOKED:
        return f"{site.name} is no member any more"
    return f"{site.name} is alive" + _noted(site)


def _noted(site: SiteFact) -> str:
    return f" ({site.note})" if site.note else ""


def _add_links(why: Why, facts: MeshFacts, site: SiteFact) -> None:
    if site.own:
        up = len({each.peer for each in facts.links if each.up and each.kind == "records"})
        others = sum(not each.own and each.state is not Health.REVOKED for each in facts.sites)
        if others:
            why.add("ok" if up else "block", f"{up} of {others} other sites are linked to it")
        return
    links = [each for each in facts.links if each.peer == site.name and each.kind == "records"]
    shown = [each for each in links if each.up or each.path]
    for link in shown:
        if link.up:
            arrow = "dialled" if link.direction == "out" else "was dialled by it"
            age = shown_age(link.handshake_s)
            why.add("ok", f"a link to {link.path}, {arrow}, up for {age}, {_trip(link.rtt_s)}")
        else:
            tried = f", last {shown_age(link.tried_s)} ago" if link.tried_s is not None else ""
            why.add("block", f"dialled {link.path}{tried}: {link.error or 'no answer'}")
    if not shown:
        alive = site.state in (Health.ALIVE, Health.DRAINED)
        mark = "ok" if alive else "wait"
        how = "others pass its records on" if alive else "nobody passes records of it on"
        ended = "".join(f"; the last link ended: {each.error}" for each in links if each.error)
        why.add(mark, f"no direct link, and no address to dial; {how}{ended}")


def _trip(rtt_s: float | None) -> str:
    return "no answer yet" if rtt_s is None else f"{rtt_s * 1000:.0f} ms there and back"


def _add_units(why: Why, facts: MeshFacts, site: SiteFact) -> None:
    if not site.granted:
        return
    running = f" ({site.running:,} were running)" if site.running else ""
    if site.state is Health.UNREACHABLE:
        left_s = facts.lost_after_s - (site.seen_s or 0.0)
        when = f"in {shown_age(left_s)}" if left_s > 0 else "now, as others claim them"
        why.add(
            "wait",
            f"it holds {site.granted:,} granted units{running}; they are granted again {when}",
        )
    else:
        why.add(_mark(site), f"it holds {site.granted:,} granted units")


def _add_shards(why: Why, facts: MeshFacts, site: SiteFact) -> None:
    for shard in facts.shards:
        name = shard_name(shard)
        if shard.leader == site.name:
            _add_led(why, site, shard, name)
        elif shard.founder == site.name:
            words = f"it founded shard {name}: {shard.leader} leads it since term {shard.term}"
            seat = "; its seat is closed" if site.name in shard.closed else ""
            why.add(_mark(site), words + seat)
        elif site.name in shard.council:
            seat = "its seat is closed" if site.name in shard.closed else "it votes"
            why.add(_mark(site), f"shard {name} of {shard.leader}: {seat}")
        if shard.stands_still and site.name in shard.council and (site.own or _mark(site) == "-"):
            why.add("block", f"shard {name} stands still: {shard.stands_still}")


def _mark(site: SiteFact) -> str:
    """Of what is neither good nor bad: nothing about a site that is silent is "ok"."""
    return "ok" if site.state in (Health.ALIVE, Health.DRAINED) else "-"


def _add_led(why: Why, site: SiteFact, shard: ShardFact, name: str) -> None:
    many = f"{shard.open:,} open dataset{'s' * (shard.open != 1)}"
    words = f"it leads shard {name}, term {shard.term}: {many}"
    silent = site.state is Health.UNREACHABLE and shard.open
    if not silent and shard.mute_s is None:
        why.add(_mark(site), words)
    elif len(shard.council) == 1:
        why.add("block", f"{words}; it is alone in the council, so that nobody can take over")
    else:
        left_s = shard.vote_after_s - (shard.silent_s or 0.0)
        when = f"in {shown_age(left_s)}" if left_s > 0 else "now"
        if not silent:
            words += f", but it shows no commit for {shown_age(shard.mute_s)}"
            why.next.append("see whether its disk takes what is written: floe status there")
        why.add("wait", f"{words}; the others may vote for another leader {when}")


def _add_oddities(why: Why, site: SiteFact) -> None:
    for ban in site.bans:
        again = f"in {shown_age(ban.left_s)}"
        why.add("block", f"its worker {ban.host} gets no units, again {again}: {ban.why}")
    if site.barred > len(site.bans):
        why.add("block", f"{_barred(site)}, by its own word")
    if site.broken:
        why.add("block", f"{_breaches(site)}, the last time by: {site.broken_how}")
    if site.skipped:
        many = site.skipped > 1
        records = f"{site.skipped:,} record{'s are' if many else ' is'} skipped by all sites"
        why.add("-", f"{records}{', the last one' * many}: {site.skipped_why}")
    if site.lag:
        why.add("wait", f"{site.lag:,} entries of it are not here yet")
    if _is_off(site):
        why.add("wait", f"its clock is {_offset(site.clock_s)}; only shown times suffer")


def _barred(site: SiteFact) -> str:
    """2 workers get no units, as everything failed there at once: c17 and c19"""
    many = f"{site.barred:,} workers get" if site.barred != 1 else "a worker gets"
    names = [each.host for each in site.bans[:3]]
    more = ["…"] if site.barred > len(names) else []
    told = f": {', '.join([*names, *more])}" if names else ""
    return f"{many} no units, as everything failed there at once{told}"


def _breaches(site: SiteFact) -> str:
    return f"broke the protocol, which ended {site.broken:,} link{'s' * (site.broken != 1)} of it"


def _offset(seconds: float | None) -> str:
    seconds = seconds or 0.0
    return f"{shown_age(abs(seconds))} {'ahead' if seconds > 0 else 'behind'}"


def _add_copies(why: Why, site: SiteFact) -> None:
    """What came of two copies of the site's home."""
    if site.forked:
        gone_on = site.newest > site.forked
        why.add(
            "ok" if gone_on else "block",
            f"two copies of its home wrote generation {site.forked} of its feeds: of each place one"
            " entry counts here; "
            + (
                f"it goes on under generation {site.newest}"
                if gone_on
                else "it does nothing more under that generation"
            ),
        )
    if site.twin_s is not None:
        why.add(
            "block",
            f"two nodes with its key ran {shown_age(site.twin_s)} ago: the one started later has"
            " the links",
        )
        why.next.append("stop one of its two nodes, unless that was done: floe down where it runs")
    if site.twin_s is not None or site.newest <= site.forked != 0:
        why.next.append(f"if its admin knows of no copy, the key is stolen: {_revoke(site.name)}")


def _revoke(name: str) -> str:
    return f"floe mesh revoke {name}"


def _add_next(why: Why, facts: MeshFacts, site: SiteFact) -> None:
    if site.broken:
        why.next.append(
            "ask its admin which program runs there: it may be broken, or the site's key stolen"
        )
    if site.state is not Health.UNREACHABLE:
        return
    alone = [
        each
        for each in facts.shards
        if each.leader == site.name and each.open and len(each.council) == 1
    ]
    if alone:
        why.next.append("have its node started again: floe up")
    why.next.append(f"nothing to do, unless it is gone for good: {_revoke(site.name)}")


def _unreachable_line(facts: MeshFacts, site: SiteFact) -> str:
    words = f"{site.name}: not heard for {shown_age(site.seen_s)}."
    led = [each for each in facts.shards if each.founder == site.name and each.datasets]
    taken = [each for each in led if each.leader != site.name]
    if taken:
        leaders = _leaders(taken)
        terms = ", ".join(dict.fromkeys(f"term {each.term}" for each in taken))
        words += f" Its shard{_s(taken)} {_is(taken)} led by {leaders}, {terms}."
    elif led:
        words += f" Nobody has taken over its shard{_s(led)} yet."
    return words + f" floe mesh why {site.name}"


def _s(many: Sequence[object]) -> str:
    return "s" if len(many) != 1 else ""


def _is(many: Sequence[object]) -> str:
    return "are" if len(many) != 1 else "is"

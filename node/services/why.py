"""`floe why`: why a unit is where it is, and what would move it. Pure.

An explanation is a state, one sentence, lines marked "ok", "wait" or "block", and next steps:
FACES.md shows the tone. Facts come in as values (whyfacts.py); nothing here looks anything up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.model.dataset import Needs
from node.model.units import show_size, show_span, show_time
from node.services.errors import kind_of
from node.services.submit import offers
from node.services.whyfacts import Try, UnitFacts, Workers

MEMORY_ADVICE = 0.5  # finished units that needed under half of what is asked: say so
TAIL_CHARS_MAX = 300
MOVING = "what is granted goes on, what is not waits until it has arrived"
OTHERWISE = (
    "came out otherwise, after others had read the first outputs: which count is yours to say"
)
CANCELLED_FOR_GOOD = "what was cancelled stays so; what is still wanted is submitted again"


@dataclass(slots=True)
class Why:
    """An explanation as the API gives it."""

    state: str
    summary: str
    lines: list[dict[str, str]] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    def add(self, mark: str, text: str) -> None:
        self.lines.append({"mark": mark, "text": text})

    def shown(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "summary": self.summary,
            "lines": self.lines,
            "next": self.next,
        }


def why_unit(facts: UnitFacts) -> Why:
    """Explain one unit."""
    if facts.stopped and facts.state in ("ready", "waiting"):
        return Why(
            "stopped",
            "its dataset stands still",
            [{"mark": "block", "text": facts.stopped}],
            [facts.remedy],
        )
    if facts.live is not None and (facts.again or facts.state not in ("settled", "cancelled")):
        why = _running(facts)
    else:
        explain = {
            "settled": _settled,
            "failed": _failed,
            "blocked": _blocked,
            "cancelled": _cancelled,
            "waiting": _waiting,
        }
        why = explain.get(facts.state, _ready)(facts)
    if facts.again:
        why.add("wait", "its outputs were lost, and others need them: it runs again")
    if facts.differs:
        why.add("block", f"its outputs were lost; it was made again and {OTHERWISE}")
        why.next.append(f"floe set renew {facts.dataset} --task {facts.task} --jobs {facts.job}")
    if facts.council and facts.state not in ("settled", "cancelled"):
        why.add("wait", facts.council)
    if facts.moving_to:
        why.add("wait", f"the dataset moves to a shard that {facts.moving_to} leads; {MOVING}")
    return why


def _settled(facts: UnitFacts) -> Why:
    good = next((each for each in facts.tries if each.outcome == "success"), None)
    how = f"attempt #{good.number} on {good.host} took {_wall(good.wall_s)}" if good else "it ran"
    why = Why("settled", f"{how}; its result is stored")
    _add_tries(why, [each for each in facts.tries if each.outcome != "success"])
    return why


def _running(facts: UnitFacts) -> Why:
    assert facts.live is not None
    host = facts.live.get("host") or "a pilot"
    started_ms = facts.live.get("started_ms")
    if started_ms is None:
        why = Why("ready", f"a pilot on {host} has it, next in line")
    else:
        why = Why("running", f"on {host} for {_age(facts.now_ms - started_ms)}")
    heard_s = facts.live.get("heard_s_ago")
    if facts.live.get("lost"):
        why.add("wait", f"the pilot on {host} is silent; it may run again elsewhere soon")
    elif isinstance(heard_s, int | float):
        why.add("ok", f"the pilot was heard of {heard_s:.0f} s ago")
    if started_ms is not None:
        why.add("ok", f"it may run for {show_time(facts.needs.time_s)} in all")
    _add_tries(why, facts.tries)
    return why


def _ready(facts: UnitFacts) -> Why:
    if not all(each.serves for each in facts.dependencies if each.state == "settled"):
        return _waiting(facts)
    why = Why("ready", "all that it waits for is settled; it waits for a worker")
    _add_dependencies(why, facts)
    if facts.paused:
        why.state, why.summary = "paused", "the dataset is paused: nothing of it starts"
        why.next.append(f"floe set resume {facts.dataset}")
        return why
    _add_workers(why, facts)
    _add_tries(why, facts.tries)
    return why


def _waiting(facts: UnitFacts) -> Why:
    open_ones = [each for each in facts.dependencies if not each.serves]
    if not open_ones:
        return _ready(facts)
    names = " and ".join(each.text for each in open_ones[:3])
    verb = "are" if len(open_ones) > 1 else "is"
    settled = all(each.state == "settled" for each in open_ones)
    why = Why("waiting", f"{names} {verb} not {'to be had' if settled else 'settled'} yet")
    _add_dependencies(why, facts)
    first = next((each for each in open_ones if each.unit), None)
    why.next += [each.remedy for each in open_ones[:3] if each.remedy]
    if first is not None:
        why.next.append(f"floe why {first.unit}")
    if facts.paused:
        why.add("block", "the dataset is paused")
        why.next.append(f"floe set resume {facts.dataset}")
    return why


def _blocked(facts: UnitFacts) -> Why:
    guilty = [each for each in facts.dependencies if each.state not in ("settled", "running")]
    names = " and ".join(each.text for each in guilty[:3]) or "what it waits for"
    why = Why("blocked", f"{names} cannot settle as things are")
    _add_dependencies(why, facts)
    why.next += [f"floe why {each.unit or each.dataset}" for each in guilty[:1]]
    return why


def _failed(facts: UnitFacts) -> Why:
    spent = [each for each in facts.tries if each.outcome in ("payload", "resources")]
    last = spent[-1] if spent else None
    kind = kind_of(last.error, last.exit) if last else "unknown"
    count = f"{len(spent)} attempt{'s' if len(spent) != 1 else ''}"
    why = Why("failed", f"{kind} after {count}; retry.max = {facts.retry_max} is spent")
    _add_tries(why, facts.tries)
    if last is not None:
        why.next.append(f"floe logs {facts.name}#{last.number}")
        if last.error in ("memory", "disk", "time"):
            why.next.append(_edit(facts, [_more(facts.needs, last.error, facts.tries)]))
    why.next.append(f"floe set retry {facts.dataset} --task {facts.task} --jobs {facts.job}")
    return why


def _cancelled(facts: UnitFacts) -> Why:
    why = Why("cancelled", "ended by an order before it settled")
    why.add("block", CANCELLED_FOR_GOOD)
    return why


def _add_dependencies(why: Why, facts: UnitFacts) -> None:
    for each in facts.dependencies:
        if each.state == "settled" and each.holdup:
            why.add("block" if each.remedy else "wait", f"{each.text}: {each.holdup}")
        elif each.state == "settled":
            text = f"{each.text} settled" + (f" ({each.where})" if each.where else "")
            why.add("ok", text)
        elif each.total > 1:
            mark = "block" if facts.state == "blocked" else "wait"
            why.add(mark, f"{each.text}: {each.settled:,} of {each.total:,} settled")
        else:
            mark = "block" if each.state in ("failed", "blocked", "cancelled") else "wait"
            why.add(mark, f"{each.text} is {each.state}")


def _add_workers(why: Why, facts: UnitFacts) -> None:
    workers = facts.workers
    if workers.draining:
        why.summary = "this site is drained: nothing new starts here"
        why.add("block", workers.draining)
        why.next.append("floe site drain --off")
        return
    if not workers.shapes:
        why.summary = "there is no worker: no pilot is up, and this site starts none itself"
        why.next.append("floe site show")
        return
    if not any(shape.fits(facts.needs) for shape in workers.shapes):
        why.summary = "no worker here could ever run it"
        why.add("block", f"it needs {needs_text(facts.needs)}")
        for offer in offers(workers.shapes):
            why.add("block", offer)
        add_batch(why, facts.batch, workers, "block")
        why.next.append(_smaller(facts))
        return
    if workers.trouble:
        why.add("block", workers.trouble)
        why.next.append("floe site show")
    elif not workers.pilots:
        why.add("wait", no_pilot(workers))
        why.next.append("floe pilots")
    else:
        why.add("wait", f"{workers.busy:,} of {workers.slots:,} slots are busy")
        if facts.ready_units > 1:
            text = f"{facts.ready_units:,} units are ready"
            if facts.units_per_s > 0:
                left_s = facts.ready_units / facts.units_per_s
                text += f", all of them done in about {show_span(left_s)}"
            why.add("wait", text)
    add_batch(why, facts.batch, workers)
    add_troubles(why, facts.batch, workers)
    _add_memory_advice(why, facts)


def add_batch(
    why: Why, batch: Mapping[str, str], workers: Workers, mark: str = "wait", prefix: str = ""
) -> None:
    """The batch systems' part of the answer; prefix: of which units it is said."""
    for system, words in batch.items():
        trouble = workers.troubles.get(system)
        hinders = trouble is not None and trouble.reason in words
        why.add("block" if hinders else mark, f"{prefix}{system}: {words}")
    if batch and "floe site show" not in why.next:
        why.next.append("floe site show")
    if workers.barred:
        hosts = f"{workers.barred:,} worker{'s get' if workers.barred > 1 else ' gets'}"
        why.add("wait", f"{hosts} no units, as everything failed there at once: floe site show")


def no_pilot(workers: Workers) -> str:
    """None has spoken. Whether those that were submitted run is the batch systems' to say."""
    coming = f"{workers.starting:,} on the way" if workers.starting else "none on the way yet"
    return f"no pilot is up; {coming}"


def add_troubles(why: Why, said: Collection[str], workers: Workers) -> None:
    """What hinders batch systems of which nothing was said."""
    for system, trouble in workers.troubles.items():
        if system not in said:
            why.add("block", f"{system}: {trouble.words}")
    if workers.troubles and "floe site show" not in why.next:
        why.next.append("floe site show")


def _add_memory_advice(why: Why, facts: UnitFacts) -> None:
    seen, asked = facts.memory_seen_bytes, facts.needs.memory_bytes
    if facts.finished >= 10 and 0 < seen < MEMORY_ADVICE * asked:
        why.add(
            "ok",
            f"the {facts.finished:,} finished ones needed at most {show_size(seen)} of memory, "
            f"it asks for {show_size(asked)}: more would fit side by side with less",
        )


def _smaller(facts: UnitFacts) -> str:
    """The edit that would let the largest worker run it, where one could."""
    most = max(facts.workers.shapes, key=lambda shape: shape.cpu, default=None)
    if most is None:
        return "floe site show"
    words = []
    if facts.needs.cpu > most.cpu:
        words.append(f"--cpu {most.cpu}")
    if facts.needs.gpu > most.gpu:
        words.append(f"--gpu {most.gpu}")
    if most.memory_bytes is not None and facts.needs.memory_bytes > most.memory_bytes:
        words.append(f"--memory {most.memory_bytes // 10**6}MB")
    if most.disk_bytes is not None and facts.needs.disk_bytes > most.disk_bytes:
        words.append(f"--disk {most.disk_bytes // 10**6}MB")
    return _edit(facts, words)


def _edit(facts: UnitFacts, words: Sequence[str]) -> str:
    return " ".join(["floe set edit", facts.dataset, "--task", facts.task, *words])


def _more(needs: Needs, what: str, tries: Sequence[Try]) -> str:
    """The option that asks for more than the unit was ever given, as `floe set edit` takes it."""
    boosts = sum(each.outcome == "resources" and each.error == what for each in tries)
    times = 2 if boosts < 2 else 4  # given were 1.5 times as much for each boost, 3 at most
    if what == "time":
        return f"--time {show_time(times * needs.time_s)}"
    asked = needs.memory_bytes if what == "memory" else needs.disk_bytes
    return f"--{what} {-(-times * asked // 10**6)}MB"


def _add_tries(why: Why, tries: Sequence[Try]) -> None:
    for each in [one for one in tries if one.outcome != "success"][-5:]:
        cost = {
            "payload": "spent a retry",
            "resources": "tried again with more",
            "infrastructure": "cost no retry",
            "stopped": "stopped by an order",
        }.get(each.outcome, each.outcome)
        host = f" on {each.host}" if each.host else ""
        text = f"attempt #{each.number}{host}: {kind_of(each.error, each.exit)}, {cost}"
        last = each.tail.strip().splitlines()[-1][:TAIL_CHARS_MAX] if each.tail.strip() else ""
        why.add("block", f'{text}: "{last}"' if last else text)


def needs_text(needs: Needs) -> str:
    words = [f"{needs.cpu} CPU"]
    if needs.gpu:
        words.append(f"{needs.gpu} GPU")
    words.append(f"{show_size(needs.memory_bytes)} memory")
    words.append(f"{show_size(needs.disk_bytes)} disk")
    return ", ".join(words)


def _wall(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 9.95 else show_span(seconds)


def _age(milliseconds: float) -> str:
    return show_span(max(0.0, milliseconds / 1000))

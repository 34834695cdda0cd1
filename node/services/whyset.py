"""`floe why` of a dataset: what moves, what does not, and why. Pure; see why.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from node.model.dataset import Needs
from node.model.units import show_span
from node.services.why import MOVING, Why, add_batch, add_troubles, needs_text, no_pilot
from node.services.whyfacts import Dependency, Workers


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task of a dataset. waits: texts of what it waits for."""

    name: str
    counts: Mapping[str, int]
    needs: Needs
    waits: Sequence[Dependency] = ()
    batch: Mapping[str, str] = field(default_factory=dict)  # by batch system: why no more pilots


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    name: str
    counts: Mapping[str, int]
    tasks: Sequence[TaskFacts]
    paused: bool = False
    stopped: str = ""  # why nothing more happens to it, if so
    remedy: str = "floe doctor"  # and the command that helps
    council: str = ""  # why nothing of its log is settled at the moment
    moving_to: str = ""  # who leads the log to which it is on its way
    files: str = ""  # why the files that came with it are not to be had, where it is led here
    orders: Sequence[tuple[str, str]] = ()  # (verb, why it was refused or "") of those not taken
    eta_s: float | None = None
    workers: Workers = field(default_factory=Workers)


def why_dataset(facts: DatasetFacts) -> Why:
    """Explain a dataset: what moves, what does not, and why."""
    counts = facts.counts
    why = Why(*_headline(facts))
    if facts.stopped:
        why.add("block", facts.stopped)
        why.next.append(facts.remedy)
        return why
    for task in facts.tasks:
        _add_task(why, facts, task)
    if facts.council:
        why.add("wait", facts.council)
    if facts.moving_to:
        why.add("wait", f"it moves to a shard that {facts.moving_to} leads; {MOVING}")
    if facts.files:
        why.add("block", f"nothing more of it is granted: files that came with it: {facts.files}")
    for verb, refused in facts.orders:
        why.add(*_order_line(verb, refused))
    if facts.paused and why.state == "paused":
        why.next.append(f"floe set resume {facts.name}")
    if counts.get("failed"):
        why.next.append(f"floe errors {facts.name}")
    if counts.get("ready") and not facts.paused:
        _add_idle_workers(why, facts.workers, elsewhere=bool(counts.get("running")))
        if not facts.workers.draining:
            _add_batch(why, facts)
    return why


def _add_batch(why: Why, facts: DatasetFacts) -> None:
    """What the batch systems say of the units that are ready, once where they say the same."""
    said: dict[tuple[str, str], list[str]] = {}
    for task in facts.tasks:
        if task.counts.get("ready"):
            for system, words in task.batch.items():
                said.setdefault((system, words), []).append(task.name)
    for (system, words), names in said.items():
        prefix = f"{', '.join(names)}: " if len(facts.tasks) > 1 else ""
        add_batch(why, {system: words}, replace(facts.workers, barred=0), prefix=prefix)
    add_batch(why, {}, facts.workers)
    add_troubles(why, [system for system, _ in said], facts.workers)


def _order_line(verb: str, refused: str) -> tuple[str, str]:
    if refused:
        return "block", f"the order {verb} was refused: {refused}"
    return "wait", f"the order {verb} is kept here; the site that leads has not taken it yet"


def _headline(facts: DatasetFacts) -> tuple[str, str]:
    counts = facts.counts
    left = counts["units"] - counts["settled"] - counts["cancelled"]
    stuck = counts["failed"] + counts["blocked"]
    if left == 0 and not facts.stopped:
        if counts["cancelled"]:
            return "cancelled", f"{counts['settled']:,} settled, {counts['cancelled']:,} cancelled"
        return "settled", f"all {_units_are(counts['settled'])} settled"
    if facts.stopped:
        return "stopped", f"{_units(left)} left, and it stands still"
    if facts.paused:
        return "paused", f"{_units(left)} left; nothing of it starts"
    if left == stuck and not counts["failed"]:
        return "blocked", f"{_units_are(left)} blocked behind failed or cancelled ones"
    if left == stuck:
        behind = f", {counts['blocked']:,} blocked behind them" if counts["blocked"] else ""
        return "failed", f"{counts['failed']:,} failed{behind}"
    if counts["running"]:
        eta = f", about {show_span(facts.eta_s)} to go" if facts.eta_s is not None else ""
        return "running", f"{_units_are(counts['running'])} running, {left:,} left{eta}"
    if counts["ready"]:
        return "ready", f"{_units_are(counts['ready'])} ready for a worker"
    return "waiting", f"{_units_are(left)} waiting for others"


def _units(count: int) -> str:
    return f"{count:,} unit" if count == 1 else f"{count:,} units"


def _units_are(count: int) -> str:
    return f"{_units(count)} {'is' if count == 1 else 'are'}"


def _add_task(why: Why, facts: DatasetFacts, task: TaskFacts) -> None:
    counts = task.counts
    moving = [f"{counts[key]:,} {key}" for key in ("running", "ready") if counts.get(key)]
    if counts.get("failed"):
        why.add("block", f"{task.name}: {counts['failed']:,} failed")
    if counts.get("blocked"):
        behind = "blocked behind failed or cancelled ones"
        why.add("block", f"{task.name}: {counts['blocked']:,} {behind}")
        if not counts.get("failed"):
            foreign = [each for each in task.waits if "/" in each.text and each.state != "settled"]
            why.next += [f"floe why {each.dataset}" for each in foreign]
    if moving:
        why.add("ok", f"{task.name}: {', '.join(moving)}")
    if counts.get("waiting"):
        names = ", ".join(each.text for each in task.waits) or "others"
        why.add("wait", f"{task.name}: {counts['waiting']:,} wait for {names}")
    for each in task.waits:
        if each.holdup:
            why.add("block" if each.remedy else "wait", f"{each.text}: {each.holdup}")
        if each.remedy and each.remedy not in why.next:
            why.next.append(each.remedy)
    unfit = counts.get("ready") and not any(s.fits(task.needs) for s in facts.workers.shapes)
    if unfit:
        why.add("block", f"{task.name} needs {needs_text(task.needs)}: no worker here could run it")


def _add_idle_workers(why: Why, workers: Workers, *, elsewhere: bool) -> None:
    """elsewhere: whether units run although nothing is started here."""
    if workers.draining and elsewhere:
        why.add("ok", f"this site is drained and starts none of them: {workers.draining}")
    elif workers.draining:
        why.add("block", f"this site is drained: {workers.draining}")
        why.next.append("floe site drain --off")
    elif workers.trouble:
        why.add("block", workers.trouble)
        why.next.append("floe site show")
    elif not workers.pilots:
        why.add("wait", no_pilot(workers))
        why.next.append("floe pilots")
    else:
        pilots = f"{workers.pilots} pilot{'s' if workers.pilots != 1 else ''}"
        why.add("ok", f"{pilots}, {workers.busy:,} of {workers.slots:,} slots busy")

"""A dataset in a few lines, as `floe show`, `floe watch` and `floe sets` draw it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from node.cli.output import Fitted, bar, duration, harmless, number, plural, size

if TYPE_CHECKING:
    from rich.console import RenderableType

COUNTS = (
    "units",
    "settled",
    "running",
    "ready",
    "waiting",
    "failed",
    "blocked",
    "cancelled",
    "duplicates",
)
ENDED = ("settled", "failed", "blocked", "cancelled")
SHOWN_STATES = ("settled", "running", "ready", "waiting", "failed", "blocked", "cancelled")
STYLES = {"settled": "green", "running": "cyan", "failed": "bold red", "blocked": "red"}


def counts_of(reply: Mapping[str, Any]) -> dict[str, int]:
    """The nine counts, each a number, whatever the reply lacks."""
    given = reply.get("counts")
    table = given if isinstance(given, dict) else {}
    return {name: _int(table.get(name)) for name in COUNTS}


def nothing_moves(counts: Mapping[str, int]) -> bool:
    """True when every unit has ended, or waits for one that ended badly."""
    return sum(counts[name] for name in ENDED) >= counts["units"] > 0


def all_settled(counts: Mapping[str, int]) -> bool:
    return counts["settled"] >= counts["units"]


def headline(reply: Mapping[str, Any]) -> str:
    """nugen-26  running 2h11m  ████████▌···  52 %   ETA 1h58m"""
    dataset = reply.get("dataset") or {}
    counts = counts_of(reply)
    fraction = counts["settled"] / counts["units"] if counts["units"] else 0.0
    words = [
        harmless(dataset.get("name", "?")),
        f"{harmless(dataset.get('state', ''))} {_age(dataset, counts)}".strip(),
        f"{bar(fraction)} {_percent(fraction)}",
    ]
    moving = not dataset.get("paused") and not nothing_moves(counts)
    if isinstance(reply.get("eta_s"), int | float) and moving:
        words.append(f"ETA {duration(reply['eta_s'])}")
    return "  ".join(word for word in words if word)


def _percent(fraction: float) -> str:
    """Never "100 %" before all is settled."""
    whole = int(fraction * 100)
    return f"{whole:3d} %"


def _age(dataset: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """How long it has been under way; nothing once it has ended."""
    age = dataset.get("age_s")
    if not isinstance(age, int | float) or nothing_moves(counts):
        return ""
    return duration(age)


def view(reply: Mapping[str, Any]) -> RenderableType:
    """The whole picture of one dataset, for a console."""
    from rich.console import Group
    from rich.text import Text

    name = harmless((reply.get("dataset") or {}).get("name", "?"))
    parts: list[RenderableType] = [Text(headline(reply), style="bold"), _tasks(reply)]
    sites = _sites(reply)
    if sites:
        parts.append(Text(f"  {sites}"))
    if unsettled := _int(reply.get("unsettled")):
        parts.append(Text(f"  {unsettled:,} of them not settled by the council yet", style="dim"))
    parts.extend(Text(f"  {line}", style="yellow") for line in next_steps(name, counts_of(reply)))
    return Group(*parts)


def next_steps(name: str, counts: Mapping[str, int]) -> list[str]:
    lines = []
    if counts["failed"]:
        behind = f", {counts['blocked']:,} blocked behind them" if counts["blocked"] else ""
        lines.append(f"{counts['failed']:,} failed{behind}: floe errors {name}")
    return lines


def _tasks(reply: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    tasks = [task for task in reply.get("tasks") or [] if isinstance(task, dict)]
    counted = [counts_of(task if "counts" in task else {"counts": task}) for task in tasks]
    shown = [
        state
        for state in SHOWN_STATES
        if state in ("settled", "running") or any(counts[state] for counts in counted)
    ]
    rows = [
        [
            Text(f"  {harmless(task.get('name', '?'))}"),
            Text(number(counts["units"])),
            *(Text(number(counts[state]), style=STYLES.get(state, "")) for state in shown),
            Text(duration(_all_cpu_s(task))),
            Text(size(max(_int(task.get("memory_max")), _int(task.get("memory_max_failed"))))),
        ]
        for task, counts in zip(tasks, counted, strict=True)
    ]
    titles = ["UNITS", *(state.upper() for state in shown), "CPU", "MEMORY"]
    return Fitted(["  TASK", *(f">{title}" for title in titles)], rows, "dim")


def _all_cpu_s(task: Mapping[str, Any]) -> float | None:
    """CPU time of all attempts, whatever became of them."""
    used = [task.get(name) for name in ("cpu_s", "lost_cpu_s", "duplicate_cpu_s")]
    known = [float(each) for each in used if isinstance(each, int | float)]
    return sum(known) if known else None


def _sites(reply: Mapping[str, Any]) -> str:
    words = []
    for site in reply.get("sites") or []:
        if isinstance(site, dict) and site.get("name") and site.get("running"):
            words.append(f"{harmless(site['name'])} {_int(site.get('running')):,} running")
    return " · ".join(words)


def one_line(reply: Mapping[str, Any]) -> str:
    """For a screen that is none: the counts that are not zero, in one line."""
    counts = counts_of(reply)
    words = [f"{state} {counts[state]:,}" for state in SHOWN_STATES if counts[state]]
    name = harmless((reply.get("dataset") or {}).get("name", "?"))
    return f"{name}  {plural(counts['units'], 'unit')}   {'   '.join(words)}"


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0

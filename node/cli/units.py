"""Verbs about units: show, jobs, logs, fetch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from node.cli.command import Floe, json_option, pass_floe, verb
from node.cli.failures import NOT_FOUND, Failed
from node.cli.names import DATASET, JOBS, NAME, UNIT, Name, jobs_text
from node.cli.output import (
    console,
    duration,
    harmless,
    moment,
    note,
    plural,
    print_json,
    say,
    size,
    state,
    styled,
    table,
)
from node.cli.summary import view
from node.client import Client, Json, path_of

STATES = ("settled", "running", "ready", "waiting", "failed", "blocked", "cancelled")
PAGE = 1000
EMPTY_PAGES_MAX = 50


@verb(
    "show",
    examples=["floe show nugen-26", "floe show nugen-26/417/reco", "floe show last --json"],
)
@click.argument("name", type=NAME)
@json_option
@pass_floe
def show_verb(floe: Floe, name: Name) -> None:
    """Show the dataset or unit NAME.

    A dataset: its tasks with their counts, CPU time and largest memory. A job: its units. A unit:
    every attempt with site, host, times, CPU, memory, exit status and error class.
    """
    client = floe.client()
    if name.is_unit:
        _show_unit(floe, client, name)
    elif name.job is not None:
        jobs = [name.job, name.job + 1]
        reply = units_page(client, name.dataset, {"jobs": jobs_text(jobs), "limit": PAGE})
        if not reply["units"]:
            raise _no_job(client, name)
        _list_units(floe, name.dataset, reply)
    else:
        reply = client.get(path_of("datasets", name.dataset))
        if floe.as_json:
            print_json(reply)
        else:
            _show_dataset(reply)


def _no_job(client: Client, name: Name) -> Failed:
    """That a dataset has no such job, and which it has."""
    dataset = client.get(path_of("datasets", name.dataset)).get("dataset") or {}
    jobs = dataset.get("jobs")
    right = f"its jobs are 0 to {jobs - 1:,}" if isinstance(jobs, int) and jobs > 0 else ""
    words = f"{harmless(name.dataset)} has no job {name.job}"
    return Failed(words, right, code="not-found", exit_status=NOT_FOUND)


def _show_dataset(reply: Json) -> None:
    dataset = reply.get("dataset") or {}
    out = console()
    with out.capture() as captured:
        out.print(view(reply))
    for line in captured.get().splitlines():
        say(line.rstrip())
    words = [
        f"by {harmless(dataset.get('user', '?'))}",
        f"submitted {moment(dataset.get('submitted_ms'))}",
        f"priority {harmless(dataset.get('priority', '-'))}",
        f"id {harmless(dataset.get('id', '?'))[:16]}",
    ]
    say(f"  {' · '.join(words)}")
    for order in reply.get("orders") or []:
        say(f"  {_order_line(order)}")
    if forced := reply.get("forced"):
        from node.cli.mesh import forced_line  # rare

        for each in forced:
            say(f"  {forced_line(each)}")


def _order_line(order: Json) -> str:
    """An order that the dataset's log refused, or has not taken."""
    verb = harmless(order.get("verb", "?"))
    if order.get("state") == "refused":
        return f"order {verb} was refused: {harmless(order.get('why', '?'))}"
    return f"order {verb} is kept, and not applied yet: the site that leads has not taken it"


def _show_unit(floe: Floe, client: Client, name: Name) -> None:
    reply = client.get(unit_path(name))
    attempts = [item for item in reply.get("attempts") or [] if isinstance(item, dict)]
    if name.attempt is not None:
        attempts = [item for item in attempts if item.get("number") == name.attempt]
        if not attempts:
            raise Failed(f"{unit_text(name)} has no attempt #{name.attempt}", exit_status=4)
        reply = {**reply, "attempts": attempts}
    if floe.as_json:
        print_json(reply)
        return
    unit = reply.get("unit") or {}
    name = replace(name, dataset=str(unit.get("dataset") or name.dataset))
    heading = styled(unit_text(name), "bold")
    heading.append("  ").append_text(state(unit.get("state", "?")))
    live = reply.get("live")
    if isinstance(live, dict):
        heading.append(f"  on {harmless(live.get('host', '?'))}")
        heading.append(f" since {moment(live.get('started_ms'))}")
    console().print(heading, soft_wrap=True)
    if attempts:
        table(
            ["  #", "OUTCOME", "SITE", "HOST", "START", ">WALL", ">CPU", ">MEMORY", "EXIT", "NOTE"],
            [_attempt_row(attempt) for attempt in attempts],
        )
    for attempt in attempts:
        _attempt_details(attempt)
    if not attempts and live is None:
        say(f"  no attempt yet: floe why {unit_text(name)}")


def _attempt_row(attempt: Mapping[str, Any]) -> list[object]:
    outcome = str(attempt.get("outcome", "?"))
    notes = ["accepted"] if attempt.get("accepted") else []
    if attempt.get("duplicate"):
        surplus = str(attempt.get("surplus") or "duplicate")
        notes.append("ended after the cancel" if surplus == "cancelled" else surplus)
    if attempt.get("error"):
        notes.insert(0, str(attempt["error"]))
    return [
        f"  #{attempt.get('number', '?')}",
        styled(outcome, "green" if outcome in ("success", "settled") else "red"),
        attempt.get("site", "-"),
        attempt.get("host", "-"),
        moment(attempt.get("start_ms")),
        duration(attempt.get("wall_s")),
        duration(attempt.get("cpu_s")),
        size(attempt.get("memory_bytes")),
        _exit(attempt),
        ", ".join(notes),
    ]


def _exit(attempt: Mapping[str, Any]) -> str:
    """How the program ended; "-" where it was ended before it could say."""
    status = attempt.get("exit")
    if not isinstance(status, int):
        return "-"
    if status == 0 and attempt.get("outcome") != "success" and attempt.get("error") != "output":
        return "-"
    return str(status) if status >= 0 else f"signal {-status}"


def _attempt_details(attempt: Mapping[str, Any]) -> None:
    number = attempt.get("number", "?")
    for output in attempt.get("outputs") or []:
        if isinstance(output, dict):
            say(f"  #{number} output  {harmless(output.get('path'))}  {size(output.get('size'))}")
    if attempt.get("tail"):
        say(f"  #{number} ended with:")
        for line in harmless(attempt["tail"], lines=True).splitlines()[-12:]:
            say(f"      {line}")


@verb(
    "jobs",
    examples=["floe jobs nugen-26 --state failed", "floe jobs nugen-26 --jobs 0-99 --task reco"],
)
@click.argument("dataset", type=DATASET)
@click.option("--state", "wanted", type=click.Choice(STATES), help="Only units in this state.")
@click.option("--task", metavar="TASK", help="Only units of this task.")
@click.option("--jobs", type=JOBS, metavar="RANGES", help="Only these jobs: 7, 0-99, 0-99:10, 5,8.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="At most N."
)
@json_option
@pass_floe
def jobs_verb(
    floe: Floe,
    dataset: Name,
    wanted: str | None,
    task: str | None,
    jobs: list[int] | None,
    limit: int,
) -> None:
    """List units of DATASET with their states."""
    query = {"state": wanted, "task": task, "jobs": jobs_text(jobs) if jobs else None}
    reply: Json = {"units": []}
    for page in unit_pages(floe.client(), dataset.dataset, query, limit):
        reply["units"] += page["units"]
        reply["next"] = page.get("next")
    _list_units(floe, dataset.dataset, reply)


def unit_pages(client: Client, dataset: str, query: Json, limit: int) -> Iterator[Json]:
    """Pages of at most `limit` units in all.

    A page may be empty and yet not the last: where a state is known of few units only, the node
    looks through all of them. After EMPTY_PAGES_MAX such pages the search is given up.
    """
    after: object = None
    empty = 0
    sparse = query.get("state") in ("running", "ready")
    while limit > 0 and empty < EMPTY_PAGES_MAX:
        asked = {**query, "limit": PAGE if sparse else min(limit, PAGE), "after": after}
        page = units_page(client, dataset, asked)
        page["units"] = page["units"][:limit]
        yield page
        limit -= len(page["units"])
        empty = 0 if page["units"] else empty + 1
        after = page.get("next")
        if after is None:
            return


def units_page(client: Client, dataset: str, query: Json) -> Json:
    reply = client.get(path_of("datasets", dataset, "jobs"), query)
    units = reply.get("units")
    return {**reply, "units": units if isinstance(units, list) else []}


def _list_units(floe: Floe, dataset: str, reply: Json) -> None:
    if floe.as_json:
        print_json(reply)
        return
    units = [unit for unit in reply["units"] if isinstance(unit, dict)]
    table(
        [">JOB", "TASK", "STATE", ">ATTEMPTS", "SITE", "HOST", ">WALL", "ERROR"],
        [
            [
                unit.get("job", "?"),
                unit.get("task", "?"),
                state(unit.get("state", "?")),
                _attempts(unit),
                unit.get("site") or "-",
                unit.get("host") or "-",
                duration(unit.get("wall_s")),
                unit.get("error") or "",
            ]
            for unit in units
        ],
    )
    if not units:
        note(f"floe: no such unit in {harmless(dataset)}")
    elif reply.get("next") is not None:
        note(f"      the first {len(units):,}; more with --limit")


def _attempts(unit: Mapping[str, Any]) -> object:
    given = unit.get("attempts", "-")
    return len(given) if isinstance(given, list) else given


@verb("logs", examples=["floe logs nugen-26/417/reco", "floe logs nugen-26/417/reco#2 --raw > log"])
@click.argument("unit", type=UNIT)
@click.option("-f", "--follow", is_flag=True, help="Go on while the unit runs.")
@click.option("--raw", is_flag=True, help="The bytes as written, terminal escapes included.")
@pass_floe
def logs_verb(floe: Floe, unit: Name, follow: bool, raw: bool) -> None:
    """Print the log of UNIT: of its newest attempt, or of the one named, UNIT#2.

    Control characters are shown, not sent to the terminal; --raw leaves them.
    """
    from node.cli.following import Follower

    follower = Follower(floe.client(), unit_path(unit), unit.attempt, raw)
    if follow:
        follower.follow()
    follower.finish()


@verb(
    "fetch",
    examples=[
        "floe fetch nugen-26 --to out",
        "floe fetch nugen-26 --to out --task reco --jobs 0-9",
    ],
)
@click.argument("name", type=NAME)
@click.option(
    "--to",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to; it is made if need be.",
)
@click.option("--task", metavar="TASK", help="Only outputs of this task.")
@click.option("--jobs", type=JOBS, metavar="RANGES", help="Only these jobs: 7, 0-99, 5,8.")
@json_option
@pass_floe
def fetch_verb(floe: Floe, name: Name, to: Path, task: str | None, jobs: list[int] | None) -> None:
    """Copy the settled outputs of NAME (a dataset, job or unit) to DIR/JOB/TASK/FILE.

    Each file is checked against its digest. Files that are there already are not sent again, and
    what was cut off goes on where it stopped.
    """
    from node.cli.fetching import Fetcher

    if name.job is not None:
        jobs = [name.job, name.job + 1]
    query = {"task": name.task or task, "jobs": jobs_text(jobs) if jobs else None}
    done = Fetcher(floe.client(), to, quiet=floe.as_json).run(name.dataset, query)
    if floe.as_json:
        print_json(
            {
                "to": str(to),
                "files": done.files,
                "bytes": done.bytes,
                "already_there": done.kept,
            }
        )
    elif not done.files and not done.kept:
        note("floe: nothing to fetch: no settled unit of these has outputs")
    else:
        there = f", {done.kept:,} were there already" if done.kept else ""
        say(f"{plural(done.files, 'file')} ({size(done.bytes)}) to {to}{there}")


def unit_path(unit: Name) -> str:
    assert unit.job is not None
    assert unit.task is not None
    return path_of("units", unit.dataset, unit.job, unit.task)


def unit_text(unit: Name) -> str:
    return harmless(f"{unit.dataset}/{unit.job}/{unit.task}")

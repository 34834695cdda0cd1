"""Users' orders about a dataset: what changes at once, and what waits its turn among results.

Pause, resume and edit are the ownership cursor's. Cancel and retry are the results cursor's: a
success before a cancel stands, a retry forgives only what precedes it. Extend is both's: new jobs
can be granted at once, but a cancel of everything that stands before it must not end them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import apsw

from node.fold import keeping
from node.fold.counts import NOTHING, Units, cancelled_among
from node.fold.sets import Jobs
from node.fold.shape import Member, Refusal, read_tasks, select

UNITS_MAX = 10**9  # of a dataset, as in its description


class Order(Protocol):
    """A checked order; see node/model/commands.py."""

    @property
    def dataset(self) -> bytes: ...
    @property
    def verb(self) -> str: ...
    @property
    def args(self) -> Mapping[str, Any]: ...
    @property
    def follows(self) -> Sequence[bytes]: ...


RENEW = "renew"  # see renewing.py
IN_TURN = frozenset({"cancel", "retry", "extend", RENEW})


def obey(conn: apsw.Connection, member: Member, order: Order) -> None:
    """The part of an order that the ownership cursor takes. Raises Refusal; nothing changed then.

    Names of tasks are checked here for all verbs, so that both cursors refuse alike.
    """
    if order.verb in ("pause", "resume"):
        paused = int(order.verb == "pause")
        conn.execute("UPDATE dataset SET paused = ? WHERE no = ?", (paused, member.no))
    elif order.verb == "edit":
        _edit(conn, member, order.args)
    elif order.verb == "extend":
        _extend(conn, member, order.args["jobs"])
    elif order.verb in ("cancel", "retry", RENEW):
        chosen_tasks(conn, member, order.args)
    else:
        raise Refusal(f"unknown order {order.verb!r}")


def _names(conn: apsw.Connection, member: Member) -> dict[str, int]:
    sql = "SELECT name, no FROM task WHERE dataset = ? ORDER BY no"
    return {str(name): int(no) for name, no in select(conn, sql, (member.no,))}


def _edit(conn: apsw.Connection, member: Member, args: Mapping[str, Any]) -> None:
    names = _names(conn, member)
    wanted: Mapping[str, Mapping[str, Any]] = args.get("needs", {})
    for name in wanted:
        if name not in names:
            raise Refusal(f"the dataset has no task {name!r}")
    for name, needs in sorted(wanted.items()):
        conn.execute(
            "UPDATE task SET needs = json_patch(coalesce(needs, '{}'), ?) WHERE no = ?",
            (json.dumps(dict(needs), sort_keys=True), names[name]),
        )
    if "priority" in args:
        conn.execute("UPDATE dataset SET priority = ? WHERE no = ?", (args["priority"], member.no))


def _extend(conn: apsw.Connection, member: Member, more: int) -> None:
    """Append `more` jobs a cell; those already there keep their numbers."""
    if not member.extend:
        raise Refusal("the dataset may not be extended")
    added = more * member.cells
    if (member.jobs + added) * len(read_tasks(conn, member.no)) > UNITS_MAX:
        raise Refusal(f"extended by {more}, the dataset would have more than {UNITS_MAX} units")
    conn.execute("UPDATE dataset SET jobs = jobs + ? WHERE no = ?", (added, member.no))


def chosen_tasks(conn: apsw.Connection, member: Member, args: Mapping[str, Any]) -> list[int]:
    """Numbers of the tasks that an order is about. Raises Refusal for one that is not there."""
    names = _names(conn, member)
    wanted = args.get("select", {}).get("tasks")
    if wanted is None:
        return list(names.values())
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise Refusal(f"the dataset has no task {unknown[0]!r}")
    return sorted(names[name] for name in set(wanted))


def chosen_jobs(args: Mapping[str, Any]) -> Jobs | None:
    """Jobs that an order is about; None: all."""
    flat = args.get("select", {}).get("jobs")
    return None if flat is None else Jobs.joined(flat)


def obey_in_turn(conn: apsw.Connection, member: Member, order: Order) -> list[list[int]]:
    """The results cursor's part: [task, lo, hi, lo, hi, ...] of the units that it changed."""
    if order.verb == "extend":
        tasks = list(read_tasks(conn, member.no))
        changed = [_append(conn, task, order.args["jobs"] * member.cells) for task in tasks]
        keeping.recount(conn, tasks)
        return changed
    chosen = chosen_jobs(order.args)
    act = _cancel if order.verb == "cancel" else _retry
    tasks = chosen_tasks(conn, member, order.args)
    changed = [[task, *act(conn, task, chosen).flat] for task in tasks]
    return [each for each in changed if len(each) > 1]


def _append(conn: apsw.Connection, task: int, added: int) -> list[int]:
    sql = "UPDATE task SET jobs = jobs + ? WHERE no = ? RETURNING jobs"
    (jobs,) = select(conn, sql, (added, task))[0]
    return [task, jobs - added, jobs]


def _cancel(conn: apsw.Connection, task: int, chosen: Jobs | None) -> Jobs:
    """End the chosen units that are not settled; they never will be."""
    units = Units(conn, chosen)
    before = Jobs(cancelled_among(conn, task, [0, units.task(task).jobs]))
    ended = units.universe(task) - units.settled(task) - before
    if not ended:
        return ended
    change = keeping.Change(conn, task, ended)
    conn.execute("DELETE FROM cancelled WHERE task = ?", (task,))
    conn.execute(
        "INSERT INTO cancelled SELECT ?, value ->> 0, value ->> 1 FROM json_each(?)",
        (task, json.dumps(list((before | ended).pairs()))),
    )
    conn.execute(
        "DELETE FROM troubled WHERE task = ?1 AND job <"
        " (SELECT hi FROM cancelled WHERE task = ?1 AND lo <= job ORDER BY lo DESC LIMIT 1)",
        (task,),
    )
    change.count(NOTHING, NOTHING, ended)
    return ended


def _retry(conn: apsw.Connection, task: int, chosen: Jobs | None) -> Jobs:
    """Forget the faults of the chosen units; the failed ones among them may run again."""
    units = Units(conn, chosen)
    again = units.failed(task)
    change = keeping.Change(conn, task, again)
    if chosen is None:
        conn.execute("DELETE FROM troubled WHERE task = ?", (task,))
    else:
        for lo, hi in units.universe(task).pairs():
            conn.execute(
                "DELETE FROM troubled WHERE task = ? AND job >= ? AND job < ?", (task, lo, hi)
            )
    if again:
        change.count(NOTHING, NOTHING, NOTHING)
    return again

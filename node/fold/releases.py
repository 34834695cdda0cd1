"""Owners' words to leaders: units that they will not run. No part of a log, whose grants alone say
who owns what; kept until the next grant of those units.

What a release gives back depends on the grants that are folded when it comes: an owner says it
again when it was not heard.
"""

from __future__ import annotations

from federation.records import Release
from node.changes import UnitsReleased
from node.fold import owners
from node.fold.shape import member_by_id, read_tasks, select
from node.fold.step import Step, site_no


def hear(step: Step, record: Release) -> None:
    """Note what the author of the entry gives back of what it owns."""
    site, generation = step.ref.feed.site, step.ref.feed.generation
    sql = "SELECT no FROM shard WHERE id = ? AND (leader, generation) != (?, ?)"
    for (shard,) in select(step.conn, sql, (record.shard, site, generation)):
        _give_back(step, shard, record)


def _give_back(step: Step, shard: int, record: Release) -> None:
    member = member_by_id(step.conn, record.dataset, shard)
    if member is None:
        return  # it has not come yet: its owner says it again
    site = step.ref.feed.site
    no = site_no(step.conn, site)
    tasks = read_tasks(step.conn, member.no)
    for task in (member.base + index for index in record.tasks):
        flat: list[int] = []
        if task in tasks:
            for lo, hi in zip(record.ranges[::2], record.ranges[1::2], strict=True):
                flat += owners.give_back(step.conn, task, lo, hi, no)
        if flat:
            step.changes.append(UnitsReleased(member.no, [task], flat, site))

"""Units of other logs that serve in this one, because a record of it says that they are settled."""

from __future__ import annotations

from federation.opening import entry_ref
from federation.records import Import
from node.fold import linking, proving, roots
from node.fold.acts import Acts
from node.fold.sets import Jobs
from node.fold.shape import HERE, Refusal, Shard, member_by_id
from node.fold.step import Scene


def take(scene: Scene, acts: Acts, shard: Shard, record: Import, entry: int) -> None:
    """Take over those of the units that somebody waits for. Raises Refusal, NotYet."""
    conn = scene.conn
    if record.source == shard.id:
        raise Refusal("units of this very log need no import")
    proving.settled_at(conn, acts, record.source, entry_ref(record.place), record.acks)
    member = member_by_id(conn, record.dataset, shard.no)
    if member is not None and member.away == HERE and member.pos <= shard.results_pos:
        raise Refusal("the dataset is in this log")
    wanted = linking.waiting_jobs(conn, shard.no, record.dataset, shard.results_pos + 1)
    jobs = Jobs(list(record.ranges)) & Jobs((0, wanted.get(record.task, 0)))
    if not jobs:
        raise Refusal("nothing in this log waits for these units")
    changes = linking.reflect(conn, shard.no, record.dataset, record.task, jobs, entry)
    shard.results_root = roots.extend(
        shard.results_root, b"import", record.dataset, record.task, jobs.flat
    )
    scene.changes += changes

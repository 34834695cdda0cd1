"""Running roots and digests: how two nodes, or a node and its own past, compare their tables."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import apsw

from federation.codec import pack
from node.fold.shape import select

VERSION: Final = 4  # of the meaning of the log; stands beside every root
EMPTY: Final = bytes(32)


def extend(root: bytes, kind: bytes, *parts: object) -> bytes:
    """The root after one more effect; parts: what msgpack can write, in a fixed order."""
    return blake2b(root + kind + pack(list(parts)), digest_size=32).digest()


def of_founding(shard: bytes, council: Iterable[bytes]) -> bytes:
    """The root of a log before its first record."""
    return extend(EMPTY, b"found", shard, list(council))


OWNERSHIP: Final = 0
RESULTS: Final = 1
_LEVELS: Final = (16, 256, 4096, 65536)  # every so many records one root is kept,
_KEPT: Final = 16  # and so many of each


def keep(
    conn: apsw.Connection, shard: int, cursor: int, before: int, pos: int, root: bytes
) -> None:
    """Keep the root for positions above `before` up to `pos`, as far as every node keeps them.

    The newer ones lie closer together, so that two nodes find one that both keep, unless one is
    very far behind.
    """
    closest = _LEVELS[0]
    for at in range((before // closest + 1) * closest, pos + 1, closest):
        _keep(conn, (shard, cursor), at, root)


def _keep(conn: apsw.Connection, key: tuple[int, int], pos: int, root: bytes) -> None:
    conn.execute("INSERT OR REPLACE INTO root_at VALUES (?, ?, ?, ?)", (*key, pos, root))
    for step, coarser in zip(_LEVELS, (*_LEVELS[1:], 1 << 62), strict=True):
        if pos % step == 0:
            conn.execute(
                "DELETE FROM root_at WHERE shard = ? AND cursor = ? AND pos = ? AND pos % ?",
                (*key, pos - step * _KEPT, coarser),
            )


def state_root(conn: apsw.Connection) -> str:
    """One hash over the roots and positions of all shards, in hex; equal logs give equal ones."""
    sum_ = blake2b(VERSION.to_bytes(4, "big"), digest_size=32)
    sql = "SELECT id, own_pos, results_pos, own_root, results_root FROM shard ORDER BY id"
    for row in select(conn, sql):
        sum_.update(pack(list(row)))
    return sum_.hexdigest()


_TASK: Final = "(SELECT id FROM shard s WHERE s.no = d.shard), d.id, t.idx"
_ENTRY: Final = (
    "(SELECT e.id FROM entry e WHERE e.no = x.entry)"  # local numbers differ between nodes
)
_OF_TASK: Final = "JOIN task t ON t.no = x.task JOIN dataset d ON d.no = t.dataset"
_SITE: Final = "(SELECT key FROM site s WHERE s.no = x.site)"
_DATASET: Final = "(SELECT id FROM dataset d WHERE d.no = x.dataset)"
_CUT_SITE: Final = "(SELECT key FROM site s WHERE s.no = x.cut_site)"
_SHARD: Final = "(SELECT id FROM shard s WHERE s.no = x.shard)"

# Every shared fact by names that all nodes agree on, in an order that all agree on.
_FACTS: Final = (
    "SELECT key, name, version, said_generation, said_seq, addresses, dialled_generation,"
    " dialled_seq FROM site WHERE said_seq OR dialled_seq ORDER BY key",
    "SELECT id, founder, council, term, leader, generation, voters, stopped, own_pos, results_pos,"
    " own_root, results_root FROM shard ORDER BY id",
    f"SELECT {_SHARD}, term, pos, {_ENTRY}, idx, {_SITE}, generation, {_CUT_SITE},"
    " cut_generation, cut_seq,"
    " cut_entry, person, hlc FROM forced x ORDER BY 1, 2",
    f"SELECT {_SHARD}, pos, {_ENTRY}, idx FROM pending x ORDER BY 1, 2",
    f"SELECT {_SHARD}, {_SITE}, generation, through FROM position x ORDER BY 1, 2, 3",
    f"SELECT {_ENTRY}, {_SHARD}, pos FROM accepted x ORDER BY 1, 2",
    f"SELECT {_SITE}, key, name, groups, roles, active FROM person x ORDER BY 1, 2",
    f"SELECT {_SITE}, generation, seq, idx, {_ENTRY}, id, key, signer, adds, name, groups, roles,"
    " why FROM enrolment x ORDER BY 1, 2, 3, 4",
    f"SELECT {_SITE}, generation, seq, idx, {_ENTRY}, id, signer, kind, subject, name, admissions,"
    " listed FROM member_act x ORDER BY 1, 2, 3, 4",
    f"SELECT id, {_SHARD}, pos, {_ENTRY}, idx, name, person, grp, priority, jobs, cells, extend,"
    " hlc, paused, moved, away, (SELECT id FROM shard s WHERE s.no = x.source), quarantined"
    " FROM dataset x ORDER BY 1, 2",
    f"SELECT {_TASK}, t.name, t.jobs, t.parents, t.retry_max, t.needs, t.settled, t.failed,"
    " t.blocked, t.cancelled, t.ready, t.early, t.duplicates, t.payload, t.resources,"
    " t.infrastructure, t.stopped, t.cpu_ms, t.wall_ms, t.gpu_ms, t.memory_kib_max,"
    " t.disk_kib_max, t.wall_ms_max, t.lost_cpu_ms, t.lost_wall_ms, t.duplicate_cpu_ms,"
    " t.duplicate_wall_ms FROM task t JOIN dataset d ON d.no = t.dataset ORDER BY 1, 2, 3",
    f"SELECT {_TASK}, x.parent_id, x.parent_idx, x.jobs, x.parent IS NULL, x.remaining, x.dead"
    " FROM dependency x JOIN task t ON t.no = x.child JOIN dataset d ON d.no = t.dataset"
    " ORDER BY 1, 2, 3, 4, 5, 6",
    f"SELECT {_TASK}, x.lo, x.hi, {_SITE} FROM owner x {_OF_TASK} ORDER BY 1, 2, 3, 4",
    f"SELECT {_TASK}, {_SITE}, x.lo, x.hi FROM granted x {_OF_TASK} ORDER BY 1, 2, 3, 4, 5",
    f"SELECT {_TASK}, x.job, x.payload, x.boosts, x.losses, x.hosts, x.failed FROM troubled x"
    f" {_OF_TASK} ORDER BY 1, 2, 3, 4",
    f"SELECT {_TASK}, x.lo, x.hi FROM cancelled x {_OF_TASK} ORDER BY 1, 2, 3, 4",
    f"SELECT {_TASK}, x.job, {_ENTRY}, x.row, x.outcome, x.error, x.exit FROM fault x {_OF_TASK}"
    " ORDER BY 1, 2, 3, 4, 5, 6",
    f"SELECT {_TASK}, x.job, {_ENTRY}, x.row, x.why FROM surplus x {_OF_TASK}"
    " ORDER BY 1, 2, 3, 4, 5, 6",
    f"SELECT x.id, {_DATASET}, pos, {_ENTRY}, idx, verb,"
    " person, follows, hlc FROM command x ORDER BY 1, 2, 3",
    f"SELECT {_ENTRY}, idx, {_SHARD}, why FROM refused x ORDER BY 1, 2, 3",
    "SELECT site, generation, lane, seq, first, second FROM fork ORDER BY 1, 2, 3, 4, 5, 6",
    f"SELECT {_SHARD}, person, grp, day, cpu_us, gpu_us FROM usage x ORDER BY 1, 2, 3, 4",
    f"SELECT {_SHARD}, cursor, pos, root FROM root_at x ORDER BY 1, 2, 3",
    f"SELECT {_SHARD}, term, site, generation, seq FROM settlement x ORDER BY 1",
    "SELECT shard, id, kind, dataset FROM offer ORDER BY 1, 2",
    f"SELECT {_SHARD}, id, taken FROM answered x ORDER BY 1, 2",
    f"SELECT {_SHARD}, {_DATASET}, (SELECT id FROM shard s WHERE s.no = x.source), pos"
    " FROM adopted x ORDER BY 1, 2",
    f"SELECT {_DATASET}, {_SITE}, generation, through FROM left_at x ORDER BY 1, 2, 3",
    f"SELECT {_SHARD}, x.id, t.idx, t.jobs, t.settled, s.job FROM mirror x"
    " JOIN task t ON t.dataset = x.no JOIN settled s ON s.task = t.no ORDER BY 1, 2, 3, 6",
    f"SELECT {_TASK}, x.job FROM reproducing x {_OF_TASK} ORDER BY 1, 2, 3, 4",
    f"SELECT dataset, idx, {_SITE}, lo, hi FROM copy x ORDER BY 1, 2, 3, 4",
)
# The only table with a row a unit: one pass a task, in the order of its key.
_SETTLED: Final = "SELECT s.job, e.id FROM settled s JOIN entry e ON e.no = s.entry WHERE task = ?"
_TASKS: Final = (
    f"SELECT {_TASK}, t.no FROM task t JOIN dataset d ON d.no = t.dataset ORDER BY 1, 2, 3"
)


def digest(conn: apsw.Connection) -> bytes:
    """A hash over every shared table, free of local numbers: equal logs give equal ones."""
    sum_ = blake2b(digest_size=32)
    for sql in _FACTS:
        _add(sum_, conn.execute(sql))
    for *names, task in select(conn, _TASKS):
        sum_.update(pack(names))
        _add(sum_, conn.execute(_SETTLED + " ORDER BY s.job", (task,)))
    return sum_.digest()


def _add(sum_: Any, rows: Iterable[Any]) -> None:
    sum_.update(b"\xc1")  # never written by msgpack: where a table ends
    for row in rows:
        sum_.update(pack(list(row)))

"""What must hold at the end of a run. Each check returns the problems that it finds, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import apsw

from federation.feed import FeedTip, follow
from federation.ids import FeedID
from federation.opening import entry_ref
from federation.records import Adopt, Dataset, Move
from node.model.validate import read_submission, unpack_document
from node.store import imports
from node.store.database import DATABASE_NAME
from node.store.feeds import Feeds
from node.store.verify import finish, rebuild, verify
from tests.simulation.naive import COUNTS, Reading
from tests.simulation.node import Node
from tests.simulation.terms import Act, holders, majority
from tests.simulation.witness import Unit, Witness, read_settled, shown

SHOWN_MAX = 5


def read(node: Node) -> Reading:
    """The naive reading of everything that the node holds."""
    return Reading(node.entries())


def check_log(reading: Reading, witness: Witness, present: Collection[str]) -> list[str]:
    """Everything acknowledged is in the log (I5); no attempt stands in it twice.

    present: the sites that are left. Those that are lost for good took with them what nobody else
    was said to hold.
    """
    problems = [
        f"I5: submission of {made.name} was acknowledged, as stored on {stored}, and is lost"
        for made, stored in witness.submissions()
        if made.id not in reading.sets and set(stored) & set(present)
    ]
    problems += [
        f"order {id.hex()[:8]} was acknowledged and is lost"
        for id, name in witness.orders.items()
        if id not in reading.orders and name in present
    ]
    recorded = {id for id, _, _ in reading.attempts}
    kept = {id: unit for id, (unit, name) in witness.attempts.items() if name in present}
    lost = [unit for id, unit in kept.items() if id not in recorded]
    lost = [unit for unit in lost if _exists(reading, unit)]
    problems += [f"a result of {shown(unit)} was acknowledged and is lost" for unit in lost]
    problems += [
        f"an attempt of {shown(unit)} is recorded {times} times in generation {generation}"
        for (_, unit, generation), times in Counter(reading.attempts).items()
        if times > 1
    ]
    return problems[:SHOWN_MAX]


def _exists(reading: Reading, unit: Unit) -> bool:
    """Whether there is such a unit; one of a dataset that was lost with its database is none."""
    dataset, _task, job = unit
    return dataset in reading.sets and job < reading.sets[dataset].jobs


def check_chains(node: Node) -> list[str]:
    """Every feed is one chain without gaps."""
    feeds = Feeds(node.conn)
    tips: dict[FeedID, FeedTip] = {}
    problems = []
    for _, entry in feeds.in_order():
        feed = entry.header.feed
        try:
            tips[feed] = follow(tips.get(feed, FeedTip(feed)), entry)
        except Exception as error:
            problems.append(f"{feed.lane.name} feed, entry {entry.header.seq}: {error}")
    return problems[:SHOWN_MAX]


def check_roots(nodes: Mapping[str, Node], *, finely: bool = True) -> list[str]:
    """Nodes that hold the same entries have the same tables (I4).

    finely: tables of what stands beside logs as well; not where feeds are forked.
    """
    held = {name: node.held() for name, node in nodes.items()}
    roots = {name: _root(node, finely=finely) for name, node in nodes.items()}
    first = next(iter(nodes))
    problems = [
        f"{name} holds other entries than {first}" for name in nodes if held[name] != held[first]
    ]
    problems += [
        f"I4: {name} folds to other tables than {first}: {roots[name]}, {roots[first]}"
        for name in nodes
        if roots[name] != roots[first]
    ]
    return problems


def _root(node: Node, *, finely: bool) -> tuple[object, ...]:
    fold = node.fold(node.site)
    root = fold.state_root(node.conn)
    return (root, fold.digest(node.conn)) if finely else (root,)


def check_shards(reading: Reading, nodes: Iterable[Node]) -> list[str]:
    """Terms have one leader and keep what is settled (I1, I2); a majority holds that."""
    held = {node.site: {tip.feed: tip.seq for tip in Feeds(node.conn).tips()} for node in nodes}
    problems = []
    for shard in reading.shards.values():
        problems += shard.faults
        for term, seq in shard.settled.items():
            seats = shard.voters(term)
            if not all(seat.site in held for seat in seats):
                continue  # what is lost for good is held by nobody
            if seq and len(holders(shard, term, seq, held)) < majority(seats):
                problems.append(
                    f"I2: {seq} of term {term.number} is settled, and no majority holds it"
                )
    return problems[:SHOWN_MAX]


def check_owners(reading: Reading) -> list[str]:
    """Each dataset stands in one log, and only there (I6)."""
    standing: dict[bytes, list[str]] = {id: [] for id in reading.sets}
    for shard in reading.shards.values():
        for dataset in _standing(shard.log(shard.newest)):
            standing.setdefault(dataset, []).append(shard.shard.hex()[:8])
    return [
        f"I6: dataset {dataset.hex()[:8]} stands in {len(shards)} logs ({', '.join(shards)})"
        for dataset, shards in standing.items()
        if len(shards) != 1
    ][:SHOWN_MAX]


def _standing(log: Iterable[Act]) -> set[bytes]:
    """The datasets that a log has, by its own records alone."""
    standing: set[bytes] = set()
    adopted: set[tuple[bytes, Any]] = set()  # repeats are void
    for act in log:
        record = act.record
        if isinstance(record, Dataset):
            standing.add(read_submission(unpack_document(record.doc)).id)
        elif isinstance(record, Move) and record.to != record.shard:
            standing.discard(record.dataset)
        elif isinstance(record, Adopt):
            key = (record.dataset, entry_ref(record.move))
            standing |= {record.dataset} if key not in adopted else set()
            adopted.add(key)
    return standing


def check_counts(node: Node, reading: Reading) -> list[str]:
    """The tables say what the naive reading says, for each task and each unit."""
    problems = []
    for dataset in reading.sets:
        held = _held_counts(node, dataset)
        for index, (table, naive) in enumerate(zip(held, reading.count(dataset), strict=True)):
            wrong = [
                f"{name} {table[name]} for {naive[name]}"
                for name in COUNTS
                if table[name] != naive[name]
            ]
            if wrong:
                problems.append(f"{dataset.hex()[:8]} t{index} counts {', '.join(wrong)}")
    problems += _check_units(node, reading) + _check_sets(node, reading)
    for place in ("quarantine", "dataset WHERE quarantined IS NOT NULL", "pending"):
        (many,) = node.conn.execute(f"SELECT count(*) FROM {place}").fetchall()[0]
        if many:
            problems.append(f"{many} rows in {place}")
    return problems[:SHOWN_MAX]


def _held_counts(node: Node, dataset: bytes) -> list[dict[str, int]]:
    columns = ", ".join(f"t.{name}" for name in COUNTS)
    rows = node.conn.execute(
        f"SELECT {columns} FROM task t JOIN dataset d ON d.no = t.dataset WHERE d.id = ?"
        " ORDER BY t.idx",
        (dataset,),
    )
    return [dict(zip(COUNTS, row, strict=True)) for row in rows]


def _check_units(node: Node, reading: Reading) -> list[str]:
    naive = {unit: entry for unit, entry in reading.settled_units().items() if entry}
    held = read_settled(node)
    return [
        f"{shown(unit)} is settled by {held.get(unit, b'').hex()[:8]}, in the log by "
        f"{naive.get(unit, b'').hex()[:8]}"
        for unit in sorted({*naive, *held})
        if naive.get(unit) != held.get(unit)
    ]


def _check_sets(node: Node, reading: Reading) -> list[str]:
    held = {
        id: (jobs, priority, bool(paused), shard.hex()[:8], moved)
        for id, jobs, priority, paused, shard, moved in node.conn.execute(
            "SELECT d.id, d.jobs, d.priority, d.paused, s.id, d.moved"
            " FROM dataset d JOIN shard s ON s.no = d.shard"
        )
    }
    naive = {
        id: (found.jobs, found.priority, found.paused, found.shard.hex()[:8], found.moved or None)
        for id, found in reading.sets.items()
    }
    return [
        f"dataset {id.hex()[:8]} (jobs, priority, paused, shard, moved to): tables "
        f"{held.get(id)}, log {naive.get(id)}"
        for id in {**naive, **held}
        if held.get(id) != naive.get(id)
    ]


def unfinished(node: Node, orders: Iterable[bytes]) -> bool:
    """Whether a node knows of anything that has to happen yet.

    orders: that were acknowledged. Where their leader is lost, the next one takes them.
    """
    between = "SELECT 1 FROM dataset WHERE moved IS NOT NULL LIMIT 1"  # in no log
    if moving(node) or node.conn.execute(between).fetchall():
        return True
    if imports.wanted(node.conn, node.site, node.generation):
        return True
    taken = "SELECT 1 FROM command WHERE id = ?"
    return any(not node.conn.execute(taken, (id,)).fetchall() for id in orders)


def moving(node: Node) -> list[tuple[Any, ...]]:
    """Tasks with units that could run: ready, or waiting for some of their dataset that could.

    What waits for another dataset is ready in the end, or that one failed, or is not here.
    """
    rows: list[tuple[Any, ...]] = node.conn.execute(
        "SELECT no, jobs, settled, failed, blocked, cancelled, ready FROM task"
        " WHERE dataset IN (SELECT no FROM dataset) AND (ready"
        " OR settled + failed + blocked + cancelled < jobs AND NOT EXISTS"
        " (SELECT 1 FROM dependency WHERE child / 64 = task.dataset))"
    ).fetchall()
    return rows


def check_end(reading: Reading, witness: Witness) -> list[str]:
    """Every unit whose work can be done is settled (I6)."""
    problems = []
    for id in witness.datasets:
        found = reading.sets.get(id)
        if found is None:
            continue  # see check_log
        for index, counts in enumerate(reading.count(id)):
            ended = sum(counts[name] for name in ("settled", "cancelled", "failed", "blocked"))
            excused = sum(
                reading.waits_for_ever(found, index, job)
                for job in range(found.jobs)
                if not reading.hopeless(found, index, job)
            )
            if counts["ready"] or ended + excused != counts["jobs"]:
                problems.append(f"{found.spec.name} t{index} is not done: {counts}")
    return problems[:SHOWN_MAX]


def check_store(node: Node) -> list[str]:
    """Hashes, signatures and state root from the feeds alone, and a rebuild. The node is down."""
    path, fold = node.home / DATABASE_NAME, node.fold(node.site)
    problems: Sequence[str] = finish(verify(path, fold)).problems
    copy = apsw.Connection(str(path))
    try:
        before = fold.state_root(copy), fold.digest(copy)
        again = finish(rebuild(copy, fold))
        after = fold.state_root(copy), fold.digest(copy)
    finally:
        copy.close()
    changed = [] if before == after else ["a rebuild from the feeds gives other tables"]
    return [*problems, *again.problems, *changed]

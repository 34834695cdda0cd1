"""Datasets that leave one log for another, with all that happened to them.

Their rows stay as they are and change hands. The log that adopts a dataset waits at the adopt until
both cursors of the log that it left have passed the move; so a log that is folded anew takes all
those along that datasets tie to it.

Source: docs/protocol.md, "Moves".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apsw

from federation.ids import EntryRef, FeedID, Lane, SiteID
from federation.opening import entry_ref
from federation.records import Adopt, Move, Record, Refused
from federation.segments import contains, term_of
from node.changes import DatasetChanged
from node.fold import linking, offers, proving, roots
from node.fold.acts import Acts, entry_no
from node.fold.counts import settled_among
from node.fold.proving import NotYet
from node.fold.sets import Jobs
from node.fold.shape import (
    COMING,
    HERE,
    LEFT,
    Member,
    Refusal,
    Shard,
    member_by_id,
    read_tasks,
    select,
)
from node.fold.step import Scene, Step, find_shard, member_of

VERB_MOVE = "move"
VERB_ADOPT = "adopt"
Read = Callable[[int], Sequence[Record | Refused]]


def leave(step: Step, shard: Shard, idx: int, record: Move) -> None:
    """The ownership cursor's part of a move, record `idx` of its entry. Raises Refusal."""
    member = member_of(step.conn, shard, record.dataset)
    if record.to == shard.id:
        raise Refusal("a dataset moves to another shard")
    sql = "UPDATE dataset SET moved = ?, moved_entry = ?, moved_idx = ? WHERE no = ?"
    step.conn.execute(sql, (record.to, step.entry, idx, member.no))
    shard.own_root = roots.extend(shard.own_root, b"move", record.dataset, record.to)
    step.changes.append(DatasetChanged(member.no, VERB_MOVE))


def leave_in_turn(scene: Scene, shard: Shard, record: Move, entry: int) -> None:
    """The results cursor's part: what is counted by now stays, and serves those that wait."""
    conn = scene.conn
    member = member_by_id(conn, record.dataset, shard.no)
    assert member is not None, "the ownership cursor has seen it leave"
    # What a log before this one had counted stays counted, though this one never accepted it.
    conn.execute(
        "INSERT INTO left_at SELECT ?, site, generation, through FROM position WHERE shard = ?"
        " ON CONFLICT DO UPDATE SET through = max(through, excluded.through)",
        (member.no, shard.no),
    )
    conn.execute("UPDATE dataset SET away = ? WHERE no = ?", (LEFT, member.no))
    wanted = linking.waiting_jobs(conn, shard.no, member.id, shard.results_pos + 1)
    for index, jobs in sorted(wanted.items()):
        done = settled_among(conn, member.base + index, [0, jobs])
        if done:
            scene.changes += linking.reflect(conn, shard.no, member.id, index, Jobs(done), entry)
    scene.changes += linking.link_parent(conn, shard.no, member.id)
    shard.results_root = roots.extend(shard.results_root, b"move", member.id, _counts(conn, member))


@dataclass(slots=True)
class Arrival:
    """How a log takes in datasets. read: the records of a control entry, by local number."""

    acts: Acts
    read: Read

    def adopt(self, step: Step, shard: Shard, record: Adopt) -> None:
        """The ownership cursor's part of an adopt. Raises Refusal; NotYet if it has to wait."""
        conn, move = step.conn, entry_ref(record.move)
        held = member_by_id(conn, record.dataset, shard.no)
        if held is not None and not held.moved:
            raise Refusal("the dataset is in this log already")
        index = self._index(conn, shard, record, move)
        proving.settled_at(conn, self.acts, record.source, move, record.acks, index)
        source = self._source(conn, record, move, index)
        member = member_by_id(conn, record.dataset, source)
        if member is None or not member.moved:
            raise Refusal("the move has no effect in its log")
        if member.away != LEFT:
            raise NotYet
        conn.execute(
            "UPDATE dataset SET shard = ?, pos = ?, moved = NULL, moved_entry = NULL,"
            " moved_idx = NULL, away = ?, source = ? WHERE no = ?",
            (shard.no, shard.own_pos, COMING, source, member.no),
        )
        conn.execute(
            "INSERT OR REPLACE INTO adopted VALUES (?, ?, ?, ?)",
            (shard.no, member.no, source, shard.own_pos),
        )
        offers.answer(conn, shard.no, record.dataset, taken=True)
        shard.own_root = roots.extend(
            shard.own_root, b"adopt", record.dataset, record.source, move.id
        )
        step.changes.append(DatasetChanged(member.no, VERB_ADOPT))

    def _index(self, conn: apsw.Connection, shard: Shard, record: Adopt, move: EntryRef) -> int:
        """Which record of the entry is the move: the first of this dataset to this shard."""
        no = entry_no(conn, move, self.acts.horizon)
        if no is None:
            raise NotYet
        told = (record.source, record.dataset, shard.id)
        for index, each in enumerate(self.read(no)):
            if isinstance(each, Move) and (each.shard, each.dataset, each.to) == told:
                return index
        raise Refusal("the entry that it names moves no such dataset here")

    def _source(self, conn: apsw.Connection, record: Adopt, move: EntryRef, index: int) -> int:
        """The shard that was left, once its ownership cursor has passed the move."""
        source = find_shard(conn, "id", record.source)
        terms = self.acts.terms(conn, record.source)
        assert source is not None
        assert terms is not None
        term = term_of(terms, move, index)
        path = self.acts.path(conn, record.source)
        if term is None or not contains(path, term.number, move.feed, move.seq):
            raise Refusal("the log that it left was forced on without the move")
        at = [segment.term.number for segment in path]
        if source.at_term not in at:
            raise NotYet  # it stands beyond a cut
        here, there = at.index(source.at_term), at.index(term.number)
        if here < there or (here == there and (source.at_seq, source.at_idx) < (move.seq, 0)):
            raise NotYet
        return source.no


def adopt_in_turn(scene: Scene, shard: Shard, record: Adopt) -> Member:
    """The results cursor's part: its units are this log's; results it lacks are to follow."""
    conn = scene.conn
    member = member_by_id(conn, record.dataset, shard.no)
    assert member is not None, "the ownership cursor has adopted it"
    conn.execute("UPDATE dataset SET away = ? WHERE no = ?", (HERE, member.no))
    linking.link_children(conn, shard.no, member.no)
    scene.changes += linking.link_parent(conn, shard.no, member.id)
    shard.results_root = roots.extend(
        shard.results_root, b"adopt", member.id, _counts(conn, member)
    )
    scene.changes.append(DatasetChanged(member.no, VERB_ADOPT))
    found = member_by_id(conn, record.dataset, shard.no)
    assert found is not None
    return found


def lacking(conn: apsw.Connection, shard: Shard, member: Member) -> list[tuple[FeedID, int, int]]:
    """(results feed, after, through) of what this log has accepted of feeds that the logs which a
    dataset left had not counted for it, in the order of feeds."""
    sql = (
        "SELECT s.key, p.generation, coalesce(l.through, 0), p.through FROM position p"
        " JOIN site s ON s.no = p.site LEFT JOIN left_at l ON l.dataset = ?"
        " AND l.site = p.site AND l.generation = p.generation"
        " WHERE p.shard = ? AND p.through > coalesce(l.through, 0) ORDER BY 1, 2"
    )
    return [
        (FeedID(SiteID(site), generation, Lane.RESULTS), after, through)
        for site, generation, after, through in select(conn, sql, (member.no, shard.no))
    ]


def counted_before(conn: apsw.Connection, member: Member, site: int, generation: int) -> int:
    """Through which entry of a results feed the logs that a dataset left had counted it."""
    sql = "SELECT through FROM left_at WHERE dataset = ? AND site = ? AND generation = ?"
    rows = select(conn, sql, (member.no, site, generation))
    return int(rows[0][0]) if rows else 0


def _counts(conn: apsw.Connection, member: Member) -> list[list[int]]:
    return [
        [row.settled, row.failed, row.cancelled, row.duplicates]
        for row in read_tasks(conn, member.no).values()
    ]

"""One control entry arrives: facts that everyone may state, and an index of what logs it is for.

What a log's record means is for the walk over that log, which may come to it much later, or never:
only leaders' records count, and who led is known by entries of other feeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from federation.errors import PeerError
from federation.records import (
    Address,
    Command,
    Dataset,
    Force,
    Forked,
    Found,
    FoundCouncil,
    MemberAdd,
    MemberRemove,
    Policy,
    Record,
    Refused,
    Release,
    Site,
    UserAdd,
    UserRemove,
)
from federation.segments import LogRecord
from federation.shard import check_found
from node.fold import forcing, forks, members, offers, people, releases
from node.fold.acts import Acts
from node.fold.documents import Documents
from node.fold.seats import Seats, settle
from node.fold.shape import Refusal, select
from node.fold.step import Step

Records = Sequence[Record | Refused]
Fact = (
    Site
    | Address
    | UserAdd
    | UserRemove
    | MemberAdd
    | MemberRemove
    | Policy
    | Forked
    | Found
    | FoundCouncil
    | Force
    | Dataset
    | Command
    | Release
)
"""Records of which something is kept whoever wrote them."""


class Control:
    """Reads one entry of a control feed."""

    def __init__(self, step: Step, documents: Documents, acts: Acts) -> None:
        self._step = step
        self._conn = step.conn
        self._documents = documents
        self._acts = acts

    def read(self, records: Records) -> set[bytes]:
        """Keep what the entry says; ids of the shards whose logs may go on now."""
        for idx, record in enumerate(records):
            if isinstance(record, Refused):
                self._step.refuse(self._step.entry, idx, record.why)
            elif isinstance(record, Fact):
                self._fact(idx, record)
        logs = Counter(
            bytes(record.shard) for record in records if isinstance(record, LogRecord | Release)
        )
        ref = self._step.ref
        place = (self._step.entry, ref.feed.site, ref.feed.generation, ref.seq)
        feed, waiting, awaited = select(self._conn, _AROUND, place)[0]
        for shard, count in logs.items():
            row = (shard, feed, ref.seq, self._step.entry, count)
            self._conn.execute("INSERT INTO log_entry VALUES (?, ?, ?, ?, ?)", row)
        changed = self._acts.take(self._step, records, waiting=bool(waiting))
        seats = Seats(self._step, feed, self._acts.horizon)
        acked = seats.take(records, logs, awaited=bool(awaited))
        for shard in changed | acked:
            terms = self._acts.terms(self._conn, shard)
            if terms is not None:
                settle(self._step, terms)
        return changed | set(logs)

    def _fact(self, idx: int, record: Fact) -> None:
        def act() -> bool:
            self._keep(idx, record)
            return True

        try:
            self._step.guarded(None, act)
        except Refusal as refusal:
            self._step.refuse(self._step.entry, idx, str(refusal))

    def _keep(self, idx: int, record: Fact) -> None:
        """Raises Refusal for a fact that is none."""
        step, signer = self._step, self._documents.signer
        match record:
            case Site():
                members.hear_site(step, record)
            case Address():
                members.hear_address(step, record)
            case UserAdd() | UserRemove():
                people.enrol(step, idx, record, signer)
            case MemberAdd() | MemberRemove() | Policy():
                members.take(step, idx, record, signer)
            case Forked():
                forks.note(step, record)
            case Found() | FoundCouncil():
                try:
                    check_found(record, step.ref.feed)
                except PeerError as error:
                    raise Refusal(str(error)) from None
            case Force():
                forcing.checked(step.conn, self._documents, record, step.ref, idx)
            case Release():
                releases.hear(step, record)
            case Dataset() | Command():
                offers.note(step, idx, record, self._documents)


# Of an entry: its feed; whether shards wait for anything, and acks for this very place.
_AROUND: Final = (
    "SELECT (SELECT feed FROM entry WHERE no = ?),"
    " EXISTS (SELECT 1 FROM judged WHERE waits = 1),"
    " EXISTS (SELECT 1 FROM ack_ahead WHERE site = ? AND generation = ? AND seq = ?)"
)

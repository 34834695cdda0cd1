"""Datasets that go from the log of one shard to that of another, and what adopts and imports prove.

A move in the source names the target; an adopt in the target names the move, and the acks that
settle it in the source. So the target's readers need no view of their own on what is settled there.

Source: docs/protocol.md, "Moves", "Acks and settled".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from federation.evidence import AcksIn, BadProof, check_proof, proof
from federation.ids import EntryRef
from federation.opening import Holds, Missing, as_ref, entry_ref
from federation.records import Adopt, Import, Move, Record, Refused
from federation.settle import Seats, final_term
from federation.shard import Shard, Term

RecordsIn = Callable[[EntryRef], Sequence[Record | Refused] | None]
"""The records of a control entry; None if it, or its body, is not here."""


def may_move_to(target: Shard, seats: Seats) -> bool:
    """Whether datasets may be moved to a shard: a beginning of its log is settled.

    Else a later term might bypass the one that adopts, and a council that never was whole own them.
    """
    return final_term(target, seats) is not None


def adopt(source: Shard, seats: Seats, move: Move, at: EntryRef, index: int) -> Adopt | None:
    """The adopt of a move, which is record `index` of an entry; None until it is settled."""
    acks = proof(source, seats, at, index)
    if acks is None:
        return None
    return Adopt(move.to, move.dataset, source.id, as_ref(at), [as_ref(ack) for ack in acks])


def check_adopt(
    source: Shard, record: Adopt, records_in: RecordsIn, acks_in: AcksIn, holds: Holds
) -> Term | Missing:
    """The term of the source under which an adopt's move is settled, or what is missing to judge.

    source: the shard that the record names, as far as it is known here. Raises BadProof. Like an
    open this does not depend on the order of arrival.
    """
    at = entry_ref(record.move)
    records = records_in(at)
    if records is None:
        return Missing((at,))
    indices = [index for index, each in enumerate(records) if _is_moved(record, each)]
    if not indices:
        raise BadProof("the entry that is named holds no move of this dataset to this shard")
    return check_proof(source, at, record.acks, acks_in, holds, indices[0])


def check_import(source: Shard, record: Import, acks_in: AcksIn, holds: Holds) -> Term | Missing:
    """The term of the source under which an import's place is settled, or what is missing.

    Raises BadProof. Whether the units are settled at that place, the log through it says.
    """
    return check_proof(source, entry_ref(record.place), record.acks, acks_in, holds)


def _is_moved(adopted: Adopt, record: Record | Refused) -> bool:
    """Whether a record is the move that an adopt takes up."""
    return isinstance(record, Move) and (record.shard, record.dataset, record.to) == (
        adopted.source,
        adopted.dataset,
        adopted.shard,
    )

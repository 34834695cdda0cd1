"""The model of a dataset that moves between two shards: what is written, settled, taken over. Pure.

Each shard is taken as what the model of one shard shows it to be: branches, one for each opened
term, over a settled beginning. Leaders of old branches go on writing in ignorance. A take-over
starts from any beginning of any branch that contains all that is settled. A branch settles further
only if every newer branch contains what it settles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from tests.model.states import put

Name = tuple[int, int, int]  # of a record: shard, term, place in its branch
Kind = Literal["accept", "move", "adopt"]

ANSWERS_MAX = 1 << 18

SOURCE, TARGET = 0, 1  # the dataset starts in the source


class Record(NamedTuple):
    """An accept or a move is named by where it stands, an adopt by the move that it adopts."""

    kind: Kind
    name: Name

    def __str__(self) -> str:
        shard, term, place = self.name
        return f"{self.kind} {'SD'[shard]}{term}.{place}"


Branch = tuple[Record, ...]


class MoveState(NamedTuple):
    """branches: of each shard, by term; settled: of each shard, what is settled of its log."""

    branches: tuple[tuple[Branch, ...], ...]
    settled: tuple[Branch, ...]


class MoveRules(NamedTuple):
    """Each field is one rule; True is the protocol, False the protocol without it."""

    adopts_need_a_settled_move: bool = True  # a move that is merely seen is not adopted
    every_leader_adopts: bool = True  # not only the one that saw the move first
    repeated_adopts_are_void: bool = True  # a log adopts a move once
    moves_end_accepts: bool = True  # accepts that follow the move in the source's log do not count
    never_forced: bool = True  # no term of the source opens below what is settled


@dataclass(frozen=True, slots=True)
class MoveSize:
    """take_overs: of each shard; records: most of a branch; back: whether it may be moved back."""

    take_overs: int
    records: int
    back: bool = True


class Write(NamedTuple):
    """The leader of a term writes a record."""

    shard: int
    term: int
    record: Record

    def __str__(self) -> str:
        return f"shard {'SD'[self.shard]}: the leader of term {self.term} writes {self.record}"


class Settle(NamedTuple):
    """A term settles its first records."""

    shard: int
    term: int
    records: int

    def __str__(self) -> str:
        return f"shard {'SD'[self.shard]}: term {self.term} settles {self.records} records"


class Begin(NamedTuple):
    """A term is opened, or forced, over the first records of another."""

    shard: int
    term: int
    records: int
    forced: bool

    def __str__(self) -> str:
        verb = "is forced on" if self.forced else "is taken over"
        return f"shard {'SD'[self.shard]} {verb}: term {self.term} keeps {self.records} records"


MoveAct = Write | Settle | Begin
MoveStep = tuple[MoveAct, MoveState]


class Ownership(NamedTuple):
    """What one shard's log says at its end: whether it owns the dataset, moves adopted and made."""

    owns: bool
    adopted: frozenset[Name]
    moved: tuple[Name, ...]


@lru_cache(ANSWERS_MAX)
def ownership(shard: int, log: Branch, rules: MoveRules) -> Ownership:
    """Fold a log of one shard."""
    owns, adopted, moved = shard == SOURCE, set(), []
    for kind, name in log:
        if kind == "adopt":
            owns = owns or name not in adopted or not rules.repeated_adopts_are_void
            adopted.add(name)
        elif kind == "move" and owns:
            owns = False
            moved.append(name)
    return Ownership(owns, frozenset(adopted), tuple(moved))


def initial() -> MoveState:
    """Two founded shards, nothing written."""
    return MoveState((((),), ((),)), ((), ()))


def steps(size: MoveSize, rules: MoveRules, state: MoveState) -> Iterator[MoveStep]:
    """Everything that may happen next in either shard."""
    for shard in (SOURCE, TARGET):
        for term in range(len(state.branches[shard])):
            yield from _writes(size, rules, state, shard, term)
            yield from _settles(state, shard, term)
        if len(state.branches[shard]) <= size.take_overs:
            yield from _begins(rules, state, shard)


def _after(
    state: MoveState, shard: int, branches: tuple[Branch, ...], settled: Branch
) -> MoveState:
    return MoveState(put(state.branches, shard, branches), put(state.settled, shard, settled))


def _writes(
    size: MoveSize, rules: MoveRules, state: MoveState, shard: int, term: int
) -> Iterator[MoveStep]:
    branches, settled = state.branches[shard], state.settled[shard]
    log = branches[term]
    if len(log) >= size.records:
        return
    name = (shard, term, len(log))
    for record in (
        *_own_records(size, rules, shard, log, name),
        *_adopts(rules, state, shard, log),
    ):
        longer = put(branches, term, (*log, record))
        yield Write(shard, term, record), _after(state, shard, longer, settled)


def _own_records(
    size: MoveSize, rules: MoveRules, shard: int, log: Branch, name: Name
) -> Iterator[Record]:
    """One accept a log, while it owns the dataset; the source moves it away once."""
    owns, adopted, _ = ownership(shard, log, rules)
    if (owns or (log and not rules.moves_end_accepts)) and not has_accept(log):
        yield Record("accept", name)
    if owns and (not adopted if shard == SOURCE else size.back):
        yield Record("move", name)


def has_accept(log: Branch) -> bool:
    """Whether the log holds an accept, counting or not."""
    return any(record.kind == "accept" for record in log)


def _adopts(rules: MoveRules, state: MoveState, shard: int, log: Branch) -> Iterator[Record]:
    """Adopts of the other shard's moves that are due."""
    other = TARGET if shard == SOURCE else SOURCE
    owns, adopted, _ = ownership(shard, log, rules)
    seen = (state.settled[other],) if rules.adopts_need_a_settled_move else state.branches[other]
    for name in sorted({name for source in seen for name in ownership(other, source, rules).moved}):
        repeats = not rules.repeated_adopts_are_void and not owns
        if (name not in adopted or repeats) and not left_alone(rules, state, shard, name):
            yield Record("adopt", name)


def left_alone(rules: MoveRules, state: MoveState, shard: int, move: Name) -> bool:
    """Whether leaders of the shard adopt this move no more, since one of them once did."""
    if rules.every_leader_adopts:
        return False
    return any(Record("adopt", move) in log for log in state.branches[shard])


def _settles(state: MoveState, shard: int, term: int) -> Iterator[MoveStep]:
    branches, settled = state.branches[shard], state.settled[shard]
    log = branches[term]
    for through in range(len(settled) + 1, len(log) + 1):
        part = log[:through]
        newer = branches[term + 1 :]
        if part[: len(settled)] == settled and all(branch[:through] == part for branch in newer):
            yield Settle(shard, term, through), _after(state, shard, branches, part)


def _begins(rules: MoveRules, state: MoveState, shard: int) -> Iterator[MoveStep]:
    branches, settled = state.branches[shard], state.settled[shard]
    for start in sorted({log[:cut] for log in branches for cut in range(len(log) + 1)}):
        whole = start[: len(settled)] == settled
        if whole or (shard == SOURCE and not rules.never_forced):
            act = Begin(shard, len(branches), len(start), not whole)
            yield act, _after(state, shard, (*branches, start), settled if whole else start)

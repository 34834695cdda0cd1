"""All datasets that are led here: to whom their units go next, and what is left of them. Pure.

Order: the neediest group and person first, as in dispatch, where what owners hold already counts
as used; then priority, age, job index. A unit that waits for others is granted when those are done,
or together with them: all tasks of a job go to one site when it can run them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from federation import limits
from federation.beacon import Want
from federation.claims import Claim, label
from federation.ids import DatasetID, ShardID, SiteID
from federation.portions import Pace, is_dry, pace, portion, recalled
from federation.shapes import Shape, Workers, idle_slots, slots
from node.leading.ledger import DatasetBook, DatasetFacts, TaskBook, open_book
from node.model.share import Account, Shares
from node.model.siterules import allowed, preferred
from node.ranges import Flat, JobRanges, size
from node.unitstate import Wait

RECALLS_MAX = 3  # owners that one claim bothers
PACES_MAX = 10_000  # sites times shapes of which it is remembered how quick they are


@dataclass(frozen=True, slots=True)
class Peer:
    """A site that may be granted units: heard of lately, a member, not drained."""

    site: SiteID
    name: str
    workers: Sequence[Workers]


@dataclass(frozen=True, slots=True)
class Give:
    """Units for one site; becomes one grant or more."""

    dataset: int
    id: DatasetID
    shard: ShardID
    tasks: Sequence[int]  # indices
    ranges: Flat
    units: int  # of the shape that was claimed


@dataclass(frozen=True, slots=True)
class Ask:
    """An owner should give back units of a task. beside: what the claiming site could run."""

    owner: SiteID
    dataset: int
    id: DatasetID
    shard: ShardID
    task: int  # index
    beside: Sequence[int]
    units: int


@dataclass(frozen=True, slots=True)
class _Lot:
    """Units of one task that could be granted now."""

    book: DatasetBook
    task: TaskBook
    flat: Flat


class Book:
    """Who owns what of the datasets that this site leads."""

    def __init__(self, shares: Shares | None = None) -> None:
        self.shares = shares or Shares()
        self.datasets: dict[int, DatasetBook] = {}
        self.lost: frozenset[SiteID] = frozenset()
        self._tasks: dict[int, TaskBook] = {}
        self._done: dict[int, JobRanges] = {}  # by task; also of those that others wait for
        self._used: Mapping[tuple[bytes, str], float] = {}
        self._per_day: dict[tuple[SiteID, Shape], int] = {}

    # What the log says

    def load(self, facts: DatasetFacts) -> None:
        """Take in a dataset, new or changed."""
        numbers = {task.task for task in facts.tasks}
        numbers.update(wait.task for task in facts.tasks for wait in task.waits)
        before = {no: done for no in numbers if (done := self._done.get(no)) is not None}
        self.drop(facts.dataset)
        self._done.update(before)
        for task in facts.tasks:
            if task.settled is not None:
                self._done[task.task] = JobRanges(task.settled)
            self._done.setdefault(task.task, JobRanges())
        for no, flat in facts.sources.items():
            self._done.setdefault(no, JobRanges()).add_all(flat)
        account = self.shares.account(facts.person, facts.group)
        book = open_book(facts, account, self._done, self.lost)
        self._tasks.update({task.no: task for task in book.tasks})
        self.datasets[book.no] = book
        if book.finished:
            self.drop(book.no)

    def drop(self, dataset: int) -> None:
        """Forget a dataset; what others wait for stays known."""
        book = self.datasets.pop(dataset, None)
        if book is None:
            return
        for task in book.tasks:
            del self._tasks[task.no]
        awaited = {wait.task for task in self._tasks.values() for wait in task.waits}
        for no in [task.no for task in book.tasks] + [w.task for t in book.tasks for w in t.waits]:
            if no not in awaited and no not in self._tasks:
                self._done.pop(no, None)

    def granted(self, tasks: Iterable[int], flat: Flat, to: SiteID) -> None:
        """A grant stands in the log, or will; tasks by local number."""
        for no in tasks:
            if (task := self._tasks.get(no)) is not None:
                task.give(flat, to, self.lost)

    def released(self, tasks: Iterable[int], flat: Flat, by: SiteID) -> None:
        """An owner gave units back."""
        for no in tasks:
            if (task := self._tasks.get(no)) is not None:
                task.take(flat, by)

    def settled(self, no: int, flat: Flat) -> None:
        """Units of a task are done, whoever did them."""
        if (done := self._done.get(no)) is not None:
            done.add_all(flat)
        self.ended(no, flat)

    def ended(self, no: int, flat: Flat) -> None:
        """Units of a task need not run any more."""
        if (task := self._tasks.get(no)) is None:
            return
        task.end(flat)
        book = self.datasets[no // limits.TASKS_MAX]
        if task.finished and book.finished:
            self.drop(book.no)

    def owners(self) -> set[SiteID]:
        """Sites that own units which are not over."""
        found: set[SiteID] = set()
        for task in self._tasks.values():
            if task.outstanding:
                found.update(site for site in task.owners.keys() - found if task.left(site))
        return found

    def set_lost(self, sites: Iterable[SiteID]) -> bool:
        """Which owners have not been heard of for too long; whether that changes anything."""
        lost = frozenset(sites)
        if lost == self.lost:
            return False
        for task in self._tasks.values():
            for site in self.lost - lost:
                task.find(site)
        for task in self._tasks.values():
            for site in lost - self.lost:
                task.lose(site)
        self.lost = lost
        return True

    def set_used(self, used_s: Mapping[tuple[bytes, str], float]) -> None:
        """What people used, from the accepted results that this site holds."""
        self._used = used_s

    def unmeasured(self, no: int) -> bool:
        """Whether nobody knows how long units of a task take that has some left."""
        return (task := self._tasks.get(no)) is not None and task.unit_s is None

    def learn_unit_s(self, no: int, unit_s: float) -> None:
        """Units of a task take so long on average."""
        if (task := self._tasks.get(no)) is not None:
            task.unit_s = unit_s

    # Claims

    def serve(self, asker: Peer, claim: Claim, peers: Sequence[Peer]) -> list[Give]:
        """What a site gets for its claim; it counts as granted from now on."""
        self._note(asker.site, claim)
        gives: list[Give] = []
        left = claim.units
        for lots in self._by_account(asker, claim.shape, peers):
            account = lots[0].book.account
            room = min(left, claim.units - self._held(account, claim))
            remaining = sum(size(lot.flat) for lot in lots)
            for lot in lots:
                known = lot.task.unit_s is not None
                own = pace(claim.slots, claim.per_day, lot.task.unit_s)
                others = self._others(lot.task, asker, peers)
                units = portion(remaining, own, others, room, known=known)
                if units <= 0:
                    break
                given = self._give(lot, asker, units, gives)
                room, left, remaining = room - given, left - given, remaining - given
                if given < size(lot.flat):
                    break
        return gives

    def _note(self, site: SiteID, claim: Claim) -> None:
        if not claim.per_day:
            return
        if len(self._per_day) >= PACES_MAX:
            self._per_day.clear()  # whoever claims says it again
        self._per_day[site, claim.shape] = claim.per_day

    def _by_account(self, asker: Peer, shape: Shape, peers: Sequence[Peer]) -> Iterator[list[_Lot]]:
        """What the asker could be given, by person, the neediest first."""
        found: dict[Account, list[_Lot]] = {}
        for book in self._in_order():
            for task in book.tasks:
                if task.shape != shape or not allowed(task.sites, asker.name):
                    continue
                if _leaves_to_another(task, asker, peers):
                    continue
                if flat := self._runnable(task, task.free.flat):
                    found.setdefault(book.account, []).append(_Lot(book, task, flat))
        yield from found.values()

    def _in_order(self) -> list[DatasetBook]:
        """Datasets that are not paused, in the order in which they are served."""
        for account in self.shares.accounts.values():
            account.running_s = 0.0
        for book in self.datasets.values():
            book.account.running_s += book.charge_s
        self.shares.refresh(self._used)
        return sorted(
            (book for book in self.datasets.values() if not book.paused),
            key=lambda book: (
                self.shares.standing(book.account),
                book.account.person,
                book.account.group,
                book.order,
            ),
        )

    def _held(self, account: Account, claim: Claim) -> int:
        """How many units of a person the claiming site says it has."""
        labels = {label(book.id) for book in self.datasets.values() if book.account is account}
        return sum(held.units for held in claim.held if held.dataset in labels)

    def _runnable(self, task: TaskBook, flat: Flat) -> Flat:
        """Those of the units whose dependencies are done."""
        for wait in task.waits:
            if not flat:
                break
            flat = self._met(wait, flat)
        return flat

    def _met(self, wait: Wait, flat: Flat) -> Flat:
        done = self._done.get(wait.task)
        if done is None:
            return []
        if not wait.whole:
            return done.common(flat)
        return flat if done.within(0, wait.whole) == [0, wait.whole] else []

    def _others(self, task: TaskBook, asker: Peer, peers: Sequence[Peer]) -> list[Pace]:
        """How quick the other sites are that could run units of a task."""
        return [
            self._pace(peer, task)
            for peer in peers
            if peer.site != asker.site and allowed(task.sites, peer.name)
        ]

    def _pace(self, peer: Peer, task: TaskBook) -> Pace:
        per_day = self._per_day.get((peer.site, task.shape), 0)
        return pace(slots(peer.workers, task.shape), per_day, task.unit_s)

    def _give(self, lot: _Lot, asker: Peer, units: int, gives: list[Give]) -> int:
        """Grant up to so many units of a lot, with the other tasks of their jobs; how many."""
        book, task = lot.book, lot.task
        beside = [each for each in self._runs_all(book, asker) if each.free.common(lot.flat)]
        alike = sum(1 for each in beside if each.shape == task.shape) or 1
        flat = JobRanges(lot.flat).take(max(1, units // alike))
        groups: dict[tuple[int, ...], list[int]] = {}
        for each in beside or [task]:
            if chosen := each.free.common(flat):
                groups.setdefault(tuple(chosen), []).append(each.index)
        given = 0
        for ranges, tasks in groups.items():
            same = sum(1 for index in tasks if book.tasks[index].shape == task.shape)
            count = same * size(ranges)
            gives.append(Give(book.no, book.id, book.shard, tasks, list(ranges), count))
            self.granted([book.tasks[index].no for index in tasks], ranges, asker.site)
            given += count
        return given

    def _runs_all(self, book: DatasetBook, asker: Peer) -> list[TaskBook]:
        """All tasks of a dataset if the site could run every one of them, else none."""
        return book.tasks if len(self._fits(book, asker)) == len(book.tasks) else []

    def _fits(self, book: DatasetBook, asker: Peer) -> list[int]:
        return [
            task.index
            for task in book.tasks
            if allowed(task.sites, asker.name) and slots(asker.workers, task.shape)
        ]

    # Recalls

    def recalls(self, asker: Peer, claim: Claim, peers: Sequence[Peer]) -> list[Ask]:
        """Which owners should give units back for a site that is about to be idle."""
        if not is_dry(claim):
            return []
        held = sum(each.units for each in claim.held)
        room = claim.units - held
        asks: list[Ask] = []
        for gain, ask in sorted(
            self._asks(asker, claim, peers, held, room), key=lambda each: -each[0]
        ):
            if gain <= 0 or room <= 0 or len(asks) >= RECALLS_MAX:
                break
            asks.append(ask)
            room -= ask.units
        return asks

    def _asks(
        self, asker: Peer, claim: Claim, peers: Sequence[Peer], held: int, room: int
    ) -> Iterator[tuple[float, Ask]]:
        """For each other owner the task of which most waits there, with how long that takes."""
        for owner in peers:
            if owner.site == asker.site or owner.site in self.lost:
                continue
            waiting = [
                (queue, book, task)
                for book in self.datasets.values()
                if not book.paused
                for task in book.tasks
                if task.shape == claim.shape and allowed(task.sites, asker.name)
                if (queue := self._waiting(task, owner.site))
            ]
            if not waiting:
                continue
            most, book, task = max(waiting, key=lambda each: (each[0], -each[1].no, -each[2].index))
            theirs = self._pace(owner, task)
            own = pace(claim.slots, claim.per_day, task.unit_s)
            queue = sum(each[0] for each in waiting) - theirs.slots  # those are begun
            units = min(most, recalled(queue, theirs, held, own, room))
            if units > 0:
                time_s = queue / theirs.per_s if theirs.slots else float("inf")
                beside = self._fits(book, asker)
                yield (
                    time_s,
                    Ask(owner.site, book.no, book.id, book.shard, task.index, beside, units),
                )

    def _waiting(self, task: TaskBook, owner: SiteID) -> int:
        return size(self._runnable(task, task.left(owner)))

    # What others are told

    def wants(self) -> list[Want]:
        """What would be granted, the neediest people's first; as many as a beacon holds.

        One thing of each in turn: who wants many that nobody has stays the neediest for ever.
        """
        found: dict[Account, list[Want]] = {}
        for book in self._in_order():
            if book.account not in found and len(found) >= limits.WANTS_MAX:
                break
            mine = found.get(book.account, [])
            if len(mine) < limits.WANTS_MAX and (wants := self._wants_of(book)):
                found[book.account] = [*mine, *wants]
        turns = zip_longest(*found.values())
        return [want for turn in turns for want in turn if want is not None][: limits.WANTS_MAX]

    def _wants_of(self, book: DatasetBook) -> list[Want]:
        shapes: dict[Shape, tuple[int, int]] = {}
        for task in book.tasks:
            free = size(self._runnable(task, task.free.flat))
            if free or task.outstanding:
                before = shapes.get(task.shape, (0, 0))
                shapes[task.shape] = (before[0] + free, before[1] + task.outstanding)
        return [Want(label(book.id), shape, *units) for shape, units in shapes.items()]


def _leaves_to_another(task: TaskBook, asker: Peer, peers: Sequence[Peer]) -> bool:
    """Whether a site that the task prefers has room for it now; then others wait."""
    if not task.sites.get("prefer") or preferred(task.sites, asker.name):
        return False
    return any(
        preferred(task.sites, peer.name)
        and allowed(task.sites, peer.name)
        and idle_slots(peer.workers, task.shape)
        for peer in peers
        if peer.site != asker.site
    )

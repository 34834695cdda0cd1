"""Which ready units go to which pilot: fair share, then priority, age and job index. Pure.

A pilot offers what it has; `take` answers with ranges of jobs of single tasks. Units that can start
at once must fit into what is free. Beyond that a pilot may queue more of a task whose units are
known to be short, so that it never waits for the network between two of them; behind short ones
a few others may wait, too. No unit is parked behind long ones while another pilot may come for it.

A unit that fits a pilot as a whole but never what is free there would wait for ever behind smaller
ones. After RESERVE_S a pilot is kept for it: that one gets nothing else until the unit fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from node.model.dataset import Needs
from node.model.share import Account, Shares, unit_cost_s
from node.ranges import Flat, JobRanges, size
from node.ready import Ready
from node.unitstate import WALL_WEIGHT, DatasetState, TaskState

QUEUE_WALL_S_MAX = 10.0  # units longer than this are not queued at a pilot
RESERVE_S = 300.0  # how long a unit is passed over before a pilot is kept for it
RENEW_S = 60.0  # a pilot that does not ask for so long is not kept any longer
QUEUE_S_MAX = 3.0  # a slot's queue holds at most about this much work, or one unit
PASSED_MAX = 1000  # queues remembered as passed over, before empty ones are dropped
TURNS = 4  # competing accounts each get about this many turns in one answer

Queue = tuple[int, Needs]  # local task number, and what its units ask for


@dataclass(frozen=True, slots=True)
class Room:
    """Resources of a pilot. time_left_s None: no end known."""

    cpu: int
    gpu: int
    memory_bytes: int
    disk_bytes: int
    time_left_s: float | None = None

    def units(self, needs: Needs) -> int:
        """How many such units fit side by side."""
        if self.time_left_s is not None and needs.time_s > self.time_left_s:
            return 0
        if self.cpu < needs.cpu or self.memory_bytes < 0 or self.disk_bytes < 0:
            return 0
        fit = self.cpu // max(needs.cpu, 1)
        if needs.gpu:
            fit = min(fit, self.gpu // needs.gpu)
        if needs.memory_bytes:
            fit = min(fit, self.memory_bytes // needs.memory_bytes)
        if needs.disk_bytes:
            fit = min(fit, self.disk_bytes // needs.disk_bytes)
        return max(fit, 0)

    def less(self, needs: Needs, units: int) -> Room:
        """What is left beside so many units."""
        return Room(
            self.cpu - needs.cpu * units,
            self.gpu - needs.gpu * units,
            self.memory_bytes - needs.memory_bytes * units,
            self.disk_bytes - needs.disk_bytes * units,
            self.time_left_s,
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """What a pilot asks with: its free and its whole resources, and how many units it wants."""

    free: Room
    whole: Room
    units_max: int
    brisk: bool = False  # all that it has now is known to be short
    reserved: str = ""  # a pilot that gets units of datasets reserved for it, and no others
    pilot: int = field(default=0, compare=False)
    now_s: float = field(default=0.0, compare=False)  # monotonic


@dataclass(frozen=True, slots=True)
class Pick:
    """Units of one task for one pilot; all have the same needs."""

    task: TaskState
    needs: Needs
    flat: Sequence[int]
    units: int
    cost_s: float  # charged to the account for each unit


class Dispatch:
    """Fair share over the ready units of `ready`."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.ready = Ready(shares)
        self.reserved: dict[int, str] = {}  # datasets that one pilot alone gets: its name
        self._passed: dict[Queue, float] = {}  # since when its units found no room
        self._kept: dict[Queue, tuple[int, float]] = {}  # (pilot, when it last asked)

    def take(self, offer: Offer) -> list[Pick]:
        """Lease units for a pilot; empty if nothing that is ready fits it."""
        picks: list[Pick] = []
        free, left = offer.free, offer.units_max
        useless: set[Account] = set()
        while left > 0:
            account = self._neediest(useless)
            if account is None:
                break
            rivals = len(self.ready.active) - len(useless)
            turn = left if rivals == 1 else max(1, min(left, offer.units_max // (rivals * TURNS)))
            try:
                pick, at_once = self._pick(account, free, offer, turn)
            except _Kept:
                break
            if pick is None:
                useless.add(account)
                continue
            free = free.less(pick.needs, at_once)
            if pick.units > at_once and not _short(pick.task):
                offer = replace(offer, brisk=False)
            left -= pick.units
            picks.append(pick)
        return _joined(picks)

    def give_back(self, task: TaskState, flat: Flat, cost_s: float) -> None:
        """Units came back untried: ready again, and nothing is charged."""
        self.ready.unlease(task, flat)
        self.settle_cost(task, size(flat), cost_s, 0.0)

    def settle_cost(self, task: TaskState, units: int, charged_s: float, used_s: float) -> None:
        """Units that were charged `charged_s` each ended, having used `used_s` in all."""
        if task.dataset is not None:
            self.shares.stop(task.dataset.account, charged_s * units, used_s)

    def learn_wall(self, task: TaskState, wall_s: float) -> None:
        """A batch of successes took so long on average."""
        if task.wall_s is None:
            task.wall_s = wall_s
        else:
            task.wall_s += WALL_WEIGHT * (wall_s - task.wall_s)

    def _neediest(self, without: set[Account]) -> Account | None:
        active = self.ready.active
        if len(active) == 1:
            only = next(iter(active))
            return None if only in without else only
        rest = [account for account in active if account not in without]
        return min(rest, key=self.shares.standing, default=None)

    def _pick(
        self, account: Account, free: Room, offer: Offer, units_max: int
    ) -> tuple[Pick | None, int]:
        """The account's first units that suit; and how many of them can start at once."""
        for state in self.ready.active[account]:
            if self.reserved.get(state.no, "") != offer.reserved:
                continue
            for task, needs in _in_order(state):
                at_once = free.units(needs)
                fit = at_once + _queueable(task, needs, offer)
                if fit <= 0:
                    if offer.whole.units(needs):
                        self._pass((task.no, needs), offer)
                    continue
                self._passed.pop((task.no, needs), None)
                self._kept.pop((task.no, needs), None)
                flat = self.ready.take(task, needs, min(units_max, fit))
                units = size(flat)
                cost_s = unit_cost_s(needs.cpu, needs.gpu, task.expected_s())
                self.shares.start(account, cost_s * units)
                return Pick(task, needs, flat, units, cost_s), min(at_once, units)
        return None, 0

    def _pass(self, queue: Queue, offer: Offer) -> None:
        """Units that would fit this pilot find no room. Raises _Kept if it is kept for them."""
        if len(self._passed) > PASSED_MAX:
            self._forget_passed()
        since_s = self._passed.setdefault(queue, offer.now_s)
        if offer.now_s - since_s < RESERVE_S:
            return
        pilot, asked_s = self._kept.get(queue, (offer.pilot, offer.now_s))
        if pilot == offer.pilot or offer.now_s - asked_s > RENEW_S:
            self._kept[queue] = (offer.pilot, offer.now_s)
            raise _Kept

    def keeps(self, pilot: int) -> bool:
        """Whether a pilot is kept for a unit that does not fit yet."""
        return any(pilot == kept for kept, _ in self._kept.values())

    def _forget_passed(self) -> None:
        """Drop queues that are empty by now."""
        tasks = self.ready.tasks
        for queue in list(self._passed):
            task = tasks.get(queue[0])
            if task is None or not task.queues.get(queue[1]):
                del self._passed[queue]
                self._kept.pop(queue, None)


class _Kept(Exception):
    """This pilot gets nothing now."""


def _in_order(state: DatasetState) -> Iterator[tuple[TaskState, Needs]]:
    """A dataset's queues, lowest job first; of equal ones the later task, to finish jobs."""
    queues = [
        (queue.flat[0], -task.index, task, needs)
        for task in state.tasks
        if task.ready
        for needs, queue in task.queues.items()
        if queue.count
    ]
    if len(queues) > 1:
        queues.sort(key=lambda item: item[:2])
    for _job, _index, task, needs in queues:
        yield task, needs


def _queueable(task: TaskState, needs: Needs, offer: Offer) -> int:
    """How many units a pilot may hold beyond those that start at once."""
    slots = offer.whole.units(needs)
    if task.wall_s is None or not _short(task):
        return slots if offer.brisk else 0
    return slots * max(1, int(QUEUE_S_MAX / max(task.wall_s, 1e-3)))


def _short(task: TaskState) -> bool:
    return task.wall_s is not None and task.wall_s <= QUEUE_WALL_S_MAX


def _joined(picks: list[Pick]) -> list[Pick]:
    """Join the turns that took of the same task, so that each becomes one lease."""
    if len(picks) < 2:
        return picks
    joined: dict[tuple[int, Needs], Pick] = {}
    for pick in picks:
        key = (pick.task.no, pick.needs)
        before = joined.get(key)
        if before is None:
            joined[key] = pick
            continue
        units = before.units + pick.units
        cost_s = (before.cost_s * before.units + pick.cost_s * pick.units) / units
        flat = JobRanges([*before.flat, *pick.flat]).flat
        joined[key] = Pick(pick.task, pick.needs, flat, units, cost_s)
    return list(joined.values())

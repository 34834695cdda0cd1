"""What is ready at this site, in bins by what it asks for; what batch systems could add. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from node.dispatch import Dispatch, Room
from node.model.dataset import CPU_MAX, GPU_MAX, Needs
from node.provisioning.plan import WORK_S, Bin
from node.provisioning.settings import Factory
from node.provisioning.shapes import PILOT_BYTES, START_S
from node.unitstate import TaskState
from node.work.sessions import Lease, Session
from schedulers.base import Queue

BINS_MAX = 200
ASKS_S = 5.0  # after it announced itself, or was told that there is nothing, a pilot asks so soon
SHORT_S = WORK_S / 2  # a pilot whose units take no longer soon has room
# What one worker is believed to have, for each CPU, where neither section nor queue says.
CPUS = 64
MEMORY_BYTES = 4_000_000_000
DISK_BYTES = 20_000_000_000


def ages_s(sessions: Iterable[Session], now_ms: int) -> dict[int, float]:
    """By task, for how long the oldest of its units that run has been running."""
    found: dict[int, float] = {}
    for session in sessions:
        for lease, age_s in _running(session, now_ms):
            found[lease.task.no] = max(age_s, found.get(lease.task.no, 0.0))
    return found


def _running(session: Session, now_ms: int) -> Iterator[tuple[Lease, float]]:
    for (no, _), began_ms in session.running.items():
        lease = session.leases.get(no)
        if lease is not None:
            yield lease, max(0.0, (now_ms - began_ms) / 1000)


def _outlook_s(task: TaskState, age_s: float) -> float:
    """How long a unit lasts; of a task of which none has ended, twice as long as one has run."""
    return task.expected_s() if task.wall_s is not None else max(task.expected_s(), 2 * age_s)


def bins_of(dispatch: Dispatch, ages_s: Mapping[int, float]) -> list[Bin]:
    """The neediest account's first; BINS_MAX of them, of which each account may open as many.

    Whoever asks for hundreds of different things, none of which there is, would else be the
    neediest for ever and leave no bin to others. ages_s: of the tasks that run.
    """
    found: dict[Needs, tuple[int, float]] = {}
    accounts = sorted(dispatch.ready.active, key=dispatch.shares.standing)[:BINS_MAX]
    for number, account in enumerate(accounts, start=1):
        most = BINS_MAX * number // len(accounts)
        for state in dispatch.ready.active[account]:
            if state.no in dispatch.reserved:
                continue  # its pilot is on its way
            for task in state.tasks:
                for needs, queue in task.queues.items():
                    if not queue.count or (needs not in found and len(found) >= most):
                        continue
                    units, work_s = found.get(needs, (0, 0.0))
                    units += queue.count
                    each_s = _outlook_s(task, ages_s.get(task.no, 0.0))
                    found[needs] = (units, work_s + queue.count * each_s)
    return [Bin(needs, units, work_s / units) for needs, (units, work_s) in found.items()]


def fresh_rooms(sessions: Iterable[Session], now_s: float) -> list[Room]:
    """Pilots that have nothing and do not wait for anything: they ask in a moment."""
    return [
        session.whole
        for session in sessions
        if not session.leases
        and session.parked is None
        and now_s - session.seen_s < ASKS_S
        and not (session.stale or session.draining or session.leaving or session.rests)
    ]


def busy_rooms(sessions: Iterable[Session], now_ms: int) -> list[Room]:
    """Pilots that will soon take more, as all that they have is short."""
    return [
        session.whole
        for session in sessions
        if session.leases
        and not (session.stale or session.draining or session.leaving or session.rests)
        and all(lease.task.expected_s() <= SHORT_S for lease in session.leases.values())
        and all(
            max(age_s, _outlook_s(lease.task, age_s)) <= SHORT_S
            for lease, age_s in _running(session, now_ms)
        )
    ]


def room_of(factory: Factory, queue: Queue | None, pilots: int) -> tuple[Room, int]:
    """What so many more pilots would have, as other sites are told; and how many to tell of.

    A factory that follows the units makes small pilots for small ones and large ones for large
    ones: it is told as few large workers, with as many CPUs together as it may have pilots.
    """
    queue = queue or Queue("")
    longest_s = factory.times_s[-1]
    if queue.time_s_max is not None:
        longest_s = max((each for each in factory.times_s if each <= queue.time_s_max), default=0)
    if pilots <= 0 or longest_s <= START_S:
        return Room(0, 0, 0, 0), 0
    cpu = factory.cpu
    if cpu is None:
        cpu = max(1, min(queue.cpu_max or CPUS, pilots))
        pilots = max(1, pilots // cpu)
    memory = factory.memory_bytes or queue.memory_bytes_max or cpu * MEMORY_BYTES
    gpu = (queue.gpu_max or 0) if factory.gpu is None else factory.gpu
    disk = factory.disk_bytes or cpu * DISK_BYTES
    return Room(cpu, gpu, memory - PILOT_BYTES, disk, longest_s - START_S), pilots


def largest(factory: Factory, queue: Queue | None) -> tuple[int, int, int | None, int | None]:
    """CPUs, GPUs, memory, disk of the largest pilot there may be; None: nobody sets a limit."""
    queue = queue or Queue("")
    cpu = factory.cpu or queue.cpu_max or CPU_MAX
    gpu = factory.gpu
    if gpu is None:
        gpu = GPU_MAX if queue.gpu_max is None else queue.gpu_max
    memory = factory.memory_bytes or queue.memory_bytes_max
    memory = None if memory is None else memory - PILOT_BYTES
    return cpu, gpu, memory, factory.disk_bytes

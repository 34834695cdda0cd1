"""What a pilot asks a batch system for, and what units get of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from node.dispatch import Room
from node.model.dataset import Needs
from node.model.units import show_size, show_time
from node.provisioning.settings import Factory
from schedulers.base import Queue

PILOT_BYTES: Final = 256 << 20  # memory for the pilot itself and what watches its units
START_S: Final = 60  # from the start of a job to its first unit, and from its last to the end
STEPS: Final = 8  # sizes that follow the units are rounded up to so many steps an octave
SIZE_MIN: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of pilot of one batch system. Sizes in bytes."""

    factory: str
    cpu: int
    gpu: int
    memory_bytes: int
    disk_bytes: int
    time_s: int

    def room(self) -> Room:
        """What units get."""
        memory = max(0, self.memory_bytes - PILOT_BYTES)
        return Room(self.cpu, self.gpu, memory, self.disk_bytes, self.time_s - START_S)

    def words(self) -> str:
        """For people."""
        parts = [f"{self.cpu} CPU{'s' if self.cpu > 1 else ''}"]
        parts += [f"{self.gpu} GPU{'s' if self.gpu > 1 else ''}"] if self.gpu else []
        parts += [show_size(self.memory_bytes), show_time(self.time_s)]
        return ", ".join(parts)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Shape:
        """What `dump` wrote."""
        found: dict[str, Any] = json.loads(text)
        return cls(**found)


class NoFit(Exception):
    """No pilot of a factory can run such units; the message says why, for people."""


class Closed(NoFit):
    """Only now: the queue takes no jobs, or has no workers."""


def shape_for(factory: Factory, needs: Needs, queues: Sequence[Queue] = ()) -> Shape:
    """The pilot that this factory makes for such units. Raises NoFit.

    queues: what the batch system tells of its queues, if it does.
    """
    queue = queue_of(factory, queues)
    if queue is not None and not queue.open:
        raise Closed(f"queue {queue.name} is not open: {queue.words or 'no reason given'}")
    shape = Shape(
        factory.name,
        needs.cpu if factory.cpu is None else factory.cpu,
        needs.gpu if factory.gpu is None else factory.gpu,
        _memory(factory, needs),
        _stepped(needs.disk_bytes) if factory.disk_bytes is None else factory.disk_bytes,
        _time(factory, needs, queue),
    )
    _check(shape, needs)
    _check_queue(shape, queue)
    return shape


def _memory(factory: Factory, needs: Needs) -> int:
    """For as many units as the CPUs allow side by side, where the factory says no number."""
    if factory.memory_bytes is not None:
        return factory.memory_bytes
    beside = max(1, (factory.cpu or needs.cpu) // max(1, needs.cpu))
    return _stepped(needs.memory_bytes * beside + PILOT_BYTES)


def _time(factory: Factory, needs: Needs, queue: Queue | None) -> int:
    """The shortest walltime class that holds such a unit."""
    times = sorted(factory.times_s)
    if queue is not None and queue.time_s_max is not None:
        allowed = [time_s for time_s in times if time_s <= queue.time_s_max]
        if not allowed:
            raise NoFit(
                f"queue {queue.name} allows {show_time(queue.time_s_max)}, the shortest time of "
                f"its pilots here is {show_time(times[0])}: add a shorter one to times"
            )
        times = allowed
    for time_s in times:
        if needs.time_s + START_S <= time_s:
            return time_s
    raise NoFit(
        f"takes {show_time(needs.time_s)}, its longest pilots end after {show_time(times[-1])}"
    )


def _check(shape: Shape, needs: Needs) -> None:
    room = shape.room()
    for what, has, wants in (
        ("CPUs", room.cpu, needs.cpu),
        ("GPUs", room.gpu, needs.gpu),
    ):
        if has < wants:
            raise NoFit(f"needs {wants} {what}, its pilots have {has}")
    for what, has, wants in (
        ("memory", room.memory_bytes, needs.memory_bytes),
        ("disk", room.disk_bytes, needs.disk_bytes),
    ):
        if has < wants:
            asked, given = (show_size(each, binary=False) for each in (wants, has))
            raise NoFit(f"needs {asked} {what}, its pilots have {given}")


def _check_queue(shape: Shape, queue: Queue | None) -> None:
    if queue is None:
        return
    if queue.cpu_max is not None and shape.cpu > queue.cpu_max:
        raise NoFit(f"queue {queue.name} gives {queue.cpu_max} CPUs at most, not {shape.cpu}")
    if queue.gpu_max is not None and shape.gpu > queue.gpu_max:
        raise NoFit(f"queue {queue.name} gives {queue.gpu_max} GPUs at most, not {shape.gpu}")
    most = queue.memory_bytes_max
    if most is not None and shape.memory_bytes > most:
        asked, given = (show_size(each, binary=False) for each in (shape.memory_bytes, most))
        raise NoFit(f"queue {queue.name} gives {given} of memory at most, not {asked}")


def queue_of(factory: Factory, queues: Sequence[Queue]) -> Queue | None:
    """The one that this factory's pilots go to; None if that is not known."""
    if factory.queue:
        return next((each for each in queues if each.name == factory.queue), None)
    return next((each for each in queues if each.default), None)


def _stepped(size: int) -> int:
    """Rounded up, so that units that want nearly the same want the same pilots."""
    if size <= SIZE_MIN:
        return SIZE_MIN
    step = max(1, (1 << (size - 1).bit_length()) // (2 * STEPS))
    return -(-size // step) * step

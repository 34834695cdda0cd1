"""What units ask for and what workers have, in the whole numbers that sites tell each other. Pure.

Units of many datasets ask for the same; sites speak of *shapes*, not of datasets, when they say
what they could run and what they want run. Memory and disk are in MiB: a unit's are rounded up, a
worker's down, so that what fits by its shape fits in truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Final

from federation import limits
from federation.fields import BadField, Check, integer

MIB: Final = 1 << 20

_CORES: Final = integer(0, limits.CORES_MAX)
_MIB: Final = integer(0, limits.SHAPE_MIB_MAX)
_TIME: Final = integer(0, limits.SHAPE_TIME_S_MAX)
_COUNT: Final = integer(0, limits.UNITS_MAX)
_SHAPE_CHECKS: Final[tuple[Check, ...]] = (_CORES, _CORES, _MIB, _MIB, _TIME)


@dataclass(frozen=True, slots=True)
class Shape:
    """What one unit asks of a worker; time_s is its limit on wall time."""

    cpu: int
    gpu: int
    memory_mib: int
    disk_mib: int
    time_s: int

    @classmethod
    def of(cls, cpu: int, gpu: int, memory_bytes: int, disk_bytes: int, time_s: int) -> Shape:
        """The shape of needs in bytes; what no worker has anyway is cut to the largest number."""
        return cls(
            min(cpu, limits.CORES_MAX),
            min(gpu, limits.CORES_MAX),
            min(-(-memory_bytes // MIB), limits.SHAPE_MIB_MAX),
            min(-(-disk_bytes // MIB), limits.SHAPE_MIB_MAX),
            min(time_s, limits.SHAPE_TIME_S_MAX),
        )


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers of a site that are alike: those that it has, and those that it would start.

    time_s: how long they last; 0 when no end is known. idle: cores of them with nothing to do.
    """

    cpu: int
    gpu: int
    memory_mib: int
    disk_mib: int
    time_s: int
    count: int
    idle: int

    def units(self, shape: Shape) -> int:
        """How many such units fit on one worker side by side."""
        if self.time_s and shape.time_s > self.time_s:
            return 0
        if self.cpu < shape.cpu:
            return 0
        fit = self.cpu // max(shape.cpu, 1)
        pairs = (
            (self.gpu, shape.gpu),
            (self.memory_mib, shape.memory_mib),
            (self.disk_mib, shape.disk_mib),
        )
        return min([fit, *(has // asked for has, asked in pairs if asked)])


def slots(workers: Iterable[Workers], shape: Shape) -> int:
    """How many units of a shape run side by side on all these workers."""
    return min(sum(kind.count * kind.units(shape) for kind in workers), limits.UNITS_MAX)


def idle_slots(workers: Iterable[Workers], shape: Shape) -> int:
    """How many more units of a shape could start at once, as far as cores go."""
    cores = max(shape.cpu, 1)
    return sum(min(kind.idle // cores, kind.count * kind.units(shape)) for kind in workers)


def shape_fields(shape: Shape) -> list[int]:
    """As it travels."""
    return list(astuple(shape))


def workers_fields(workers: Sequence[Workers]) -> list[list[int]]:
    """As they travel."""
    return [list(astuple(kind)) for kind in workers]


def read_shape(value: Any) -> Shape:
    """Raises BadField."""
    _check_all(value, _SHAPE_CHECKS, "a shape")
    return Shape(*value)


def read_workers(value: Any) -> tuple[Workers, ...]:
    """Raises BadField."""
    if type(value) is not list or len(value) > limits.WORKER_KINDS_MAX:
        raise BadField(f"not a list of at most {limits.WORKER_KINDS_MAX} kinds of workers")
    for kind in value:
        _check_all(kind, _WORKERS_CHECKS, "a kind of workers")
    return tuple(Workers(*kind) for kind in value)


def _check_all(value: Any, checks: Sequence[Check], what: str) -> None:
    if type(value) is not list or len(value) != len(checks):
        raise BadField(f"{what} has {len(checks)} numbers")
    for check, number in zip(checks, value, strict=True):
        check(number)


_WORKERS_CHECKS: Final[tuple[Check, ...]] = (*_SHAPE_CHECKS, _COUNT, _COUNT)
assert len(_WORKERS_CHECKS) == len(fields(Workers))

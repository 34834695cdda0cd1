"""Whether units fit workers, in the numbers that sites tell each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.shapes import MIB, Shape, Workers, idle_slots, slots

GPU_NODE = Workers(8, 2, 64_000, 100_000, 0, 3, 10)


@pytest.mark.parametrize(
    ("shape", "units"),
    [
        (Shape(1, 0, 1000, 0, 60), 8),  # as many as there are cores
        (Shape(2, 0, 1000, 0, 60), 4),
        (Shape(1, 1, 1000, 0, 60), 2),  # as many as there are GPUs
        (Shape(1, 0, 30_000, 0, 60), 2),
        (Shape(1, 0, 0, 60_000, 60), 1),
        (Shape(0, 0, 0, 0, 60), 8),  # no core at all counts as one
        (Shape(9, 0, 0, 0, 60), 0),
        (Shape(1, 3, 0, 0, 60), 0),
    ],
)
def test_units_fit_side_by_side_as_far_as_the_scarcest_resource_goes(
    shape: Shape, units: int
) -> None:
    assert GPU_NODE.units(shape) == units
    assert slots([GPU_NODE, GPU_NODE], shape) == 6 * units


def test_a_worker_that_ends_too_soon_runs_nothing() -> None:
    worker = Workers(8, 0, 1000, 1000, 3600, 1, 8)
    assert worker.units(Shape(1, 0, 1, 1, 3600)) == 8
    assert worker.units(Shape(1, 0, 1, 1, 3601)) == 0


def test_idle_slots_are_counted_in_cores_and_never_more_than_there_are() -> None:
    assert idle_slots([GPU_NODE], Shape(2, 0, 0, 0, 60)) == 5
    assert idle_slots([GPU_NODE], Shape(1, 2, 0, 0, 60)) == 3


@given(st.integers(1, 2**50), st.integers(1, 2**50))
def test_what_fits_by_its_shape_fits_in_bytes(memory: int, has: int) -> None:
    worker = Workers(1, 0, min(has // MIB, 2**32 - 1), 0, 0, 1, 1)
    if worker.units(Shape.of(1, 0, memory, 0, 60)):
        assert memory <= has

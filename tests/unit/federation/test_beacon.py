"""Beacons as bytes: small, bounded, and of two the newer is known."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import codec, limits
from federation.beacon import (
    FIELDS_MIN,
    Ban,
    Beacon,
    Heads,
    Running,
    Want,
    read_beacon,
    write_beacon,
)
from federation.errors import LocalError, PeerError
from federation.ids import SiteID
from federation.shapes import Shape, Workers
from keys.signing import SIGNATURE_BYTES
from tests.unit.federation.test_claims import LABELS, SHAPES, UNITS, WORKERS

SEQ = st.integers(0, limits.SEQ_MAX)
HEAD_IDS = st.sampled_from([b"", b"8 bytes."])
BEACONS = st.builds(
    Beacon,
    st.binary(min_size=32, max_size=32).map(SiteID),
    st.integers(1, limits.GENERATION_MAX),
    st.integers(0, limits.BOOT_MAX),
    st.integers(0, limits.COUNTER_MAX),
    st.text(max_size=30),
    st.text(max_size=15),
    st.booleans(),
    st.builds(Heads, SEQ, HEAD_IDS, SEQ, HEAD_IDS),
    st.integers(0, limits.WALL_CLOCK_MS_MAX),
    st.integers(0, 1000),
    UNITS,
    UNITS,
    UNITS,
    WORKERS,
    st.lists(st.builds(Want, LABELS, SHAPES, UNITS, UNITS), max_size=limits.WANTS_MAX).map(tuple),
    st.lists(st.builds(Running, LABELS, UNITS), max_size=limits.RUNNING_MAX).map(tuple),
    st.lists(st.sampled_from(["slurm", "sge", ""]), max_size=limits.BATCH_KINDS_MAX).map(tuple),
    UNITS,
    st.lists(
        st.builds(
            Ban,
            st.text(max_size=16),
            st.integers(0, limits.WALL_CLOCK_MS_MAX),
            st.text(max_size=24),
        ),
        max_size=limits.BANS_MAX,
    ).map(tuple),
)
USUAL = Beacon(
    site=SiteID(b"s" * 32),
    generation=1,
    boot=1_790_000_000_000,
    counter=4711,
    name="desy-hpc",
    version="1.4.2",
    drained=False,
    heads=Heads(102_000, b"12345678", 1_200_000, b"12345678"),
    clock_ms=1_790_000_000_000,
    load=870,
    pilots=40,
    active=2440,
    ready=9000,
    workers=(Workers(64, 0, 256_000, 900_000, 86_400, 40, 120),),
    wants=(Want(b"dataset1", Shape(1, 0, 2000, 5000, 14_400), 900_000, 12_000),),
    running=(Running(b"dataset1", 2400), Running(b"dataset2", 40)),
)
BARRED = replace(
    USUAL,
    batch=("htcondor", "slurm"),
    barred=1,
    bans=(Ban("c17", 1_790_003_600_000, "5 units in a row failed at once (exit)"),),
)


@given(BEACONS)
def test_a_beacon_is_read_as_it_was_written(beacon: Beacon) -> None:
    assert read_beacon(write_beacon(beacon)) == beacon


def test_the_usual_beacon_has_about_300_bytes_with_its_signature() -> None:
    assert len(write_beacon(USUAL)) + SIGNATURE_BYTES <= 320


def test_no_beacon_is_larger_than_the_bound_with_all_fields_at_their_largest() -> None:
    most = 2**40 - 1
    shape = Shape(65_535, 65_535, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    workers = Workers(65_535, 65_535, 2**32 - 1, 2**32 - 1, 2**32 - 1, most, most)
    ban = Ban(
        "h" * limits.BAN_HOST_BYTES_MAX, limits.WALL_CLOCK_MS_MAX, "w" * limits.BAN_WHY_BYTES_MAX
    )
    beacon = replace(
        USUAL,
        name="n" * limits.NAME_BYTES_MAX,
        version="v" * limits.VERSION_BYTES_MAX,
        pilots=most,
        active=most,
        ready=most,
        workers=(workers,) * limits.WORKER_KINDS_MAX,
        wants=(Want(b"dataset1", shape, most, most),) * limits.WANTS_MAX,
        running=(Running(b"dataset1", most),) * limits.RUNNING_MAX,
        batch=("b" * limits.BATCH_KIND_BYTES_MAX,) * limits.BATCH_KINDS_MAX,
        barred=most,
        bans=(ban,) * limits.BANS_MAX,
    )
    assert len(write_beacon(beacon)) <= limits.BEACON_BYTES_MAX


def test_a_beacon_of_the_first_version_is_one_that_tells_nothing_of_batch_systems() -> None:
    fields = codec.unpack(write_beacon(USUAL), bytes_max=limits.BEACON_BYTES_MAX)
    assert len(fields) == FIELDS_MIN == 16
    assert read_beacon(codec.pack(fields)) == USUAL
    assert read_beacon(codec.pack([*fields, ["sge"]])) == replace(USUAL, batch=("sge",))


def test_fields_of_later_versions_are_left_out_if_there_are_not_too_many() -> None:
    fields = codec.unpack(write_beacon(BARRED), bytes_max=limits.BEACON_BYTES_MAX)
    assert len(fields) == 19
    assert read_beacon(codec.pack([*fields, 1, [b"what", ["is"], "this"]])) == BARRED
    with pytest.raises(PeerError):
        read_beacon(codec.pack(fields + [0] * (limits.BEACON_FIELDS_MAX - len(fields) + 1)))
    with pytest.raises(PeerError):
        read_beacon(codec.pack(fields[: FIELDS_MIN - 1]))


def test_later_starts_and_generations_outrank_higher_counts() -> None:
    assert replace(USUAL, boot=USUAL.boot + 1, counter=0).order > USUAL.order
    assert replace(USUAL, generation=2, boot=0, counter=0).order > USUAL.order


@given(st.binary(max_size=300))
def test_bytes_from_outside_raise_nothing_but_the_peers_mistake(document: bytes) -> None:
    with contextlib.suppress(PeerError):
        read_beacon(document)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"short"),
        (1, 0),
        (2, -1),
        (4, "n" * (limits.NAME_BYTES_MAX + 1)),
        (6, 2),
        (7, [1, b"12345678", 1]),
        (9, 1001),
        (14, [[b"dataset1", [1, 0, 1, 1, 1], 1, 1]] * (limits.WANTS_MAX + 1)),
        (14, [[b"dataset1", [1, 0, 1, 1], 1, 1]]),
        (15, [[b"dataset1", -1]]),
        (16, ["x" * (limits.BATCH_KIND_BYTES_MAX + 1)]),
        (16, [b"slurm"]),
        (17, -1),
        (18, [["c17", 1, "why"]] * (limits.BANS_MAX + 1)),
        (18, [["h" * (limits.BAN_HOST_BYTES_MAX + 1), 1, "why"]]),
        (18, [["c17", -1, "why"]]),
    ],
)
def test_a_field_out_of_its_bounds_is_refused(at: int, value: Any) -> None:
    fields = codec.unpack(write_beacon(BARRED), bytes_max=limits.BEACON_BYTES_MAX)
    fields[at] = value
    with pytest.raises(PeerError):
        read_beacon(codec.pack(fields))


def test_what_others_would_refuse_is_not_sent() -> None:
    with pytest.raises(LocalError, match="load"):
        write_beacon(replace(USUAL, load=1001))

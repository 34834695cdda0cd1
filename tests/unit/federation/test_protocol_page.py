"""docs/protocol.md names every record, field and bound as the code has it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from federation import canvass, claims, entryrequests, limits
from federation.beacon import Beacon
from federation.claims import Answer, Claim, Recall
from federation.entry import Header
from federation.events import Reason
from federation.records import Outcome, Record, Unknown
from federation.wire import KINDS as MESSAGES
from keys.signing import Purpose
from node.council import moving
from node.leading import needs
from node.meshing import filenames, fileserver, keeping, roots, units

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text("utf-8")
KINDS = [cls for cls in get_args(Record) if cls is not Unknown]


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}.*?\n(.*?)(?=^#)", PAGE, re.M | re.S)
    assert found, f"no section {title}"
    return found[1]


@pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.__name__)
def test_every_field_of_every_kind_is_listed_in_order(cls: type) -> None:
    rows = re.findall(r"^\| (\w+) \|", section(f"{cls.kind} "), re.M)  # type: ignore[attr-defined]
    assert rows == ["field", *(field.name for field in fields(cls))]


def test_every_message_is_listed_with_its_fields_in_order() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.+) \|$", section("Messages"), re.M)
    assert [(int(kind), name) for kind, name, _ in rows] == sorted(
        (kind, cls.__name__.lower()) for kind, cls in MESSAGES.items()
    )
    for kind, name, listed in rows:
        places = [re.search(rf"\b{field.name}\b", listed) for field in fields(MESSAGES[int(kind)])]
        assert all(places), name
        starts = [place.start() for place in places if place]
        assert starts == sorted(starts), name


def test_reasons_are_named() -> None:
    for reason in Reason:
        if reason:
            assert f"{int(reason)}\n{reason.name.lower()}" in section("Links").replace(" ", "\n")


def test_bounds_of_links_are_those_of_the_code() -> None:
    assert f"1 … {limits.FRAME_BYTES_MAX}" in section("Messages")
    assert f"≤ {limits.VECTOR_FEEDS_MAX}" in section("Messages")
    assert f"1 … {limits.WANT_FEEDS_MAX}" in section("Messages")
    assert f"sealed 1 … {limits.ENTRIES_MAX}" in section("Messages")
    assert f"{limits.FLOOD_BYTES_MAX} bytes" in section("Gossip")
    assert f"{limits.WINDOW_BYTES[0] // 1024} KiB (control)" in section("Sync").replace("\n", " ")
    assert f"{limits.WANT_ENTRIES[0]} control or {limits.WANT_ENTRIES[1]}\nresults" in section(
        "Sync"
    )


def test_every_kind_and_no_other_has_a_section() -> None:
    titles = [int(kind) for kind in re.findall(r"^### (\d+) ", PAGE, re.M)]
    assert titles == sorted(cls.kind for cls in KINDS)
    kept = [int(kind) for kind in re.findall(r"(\d+) [a-z.]+", section("Kept for later"))]
    assert not set(kept) & set(titles)


def test_the_header_is_listed_in_order() -> None:
    rows = re.findall(r"^\| \d \| (\w+) \|", section("Entry"), re.M)
    assert rows == [field.name for field in fields(Header)]


def test_every_purpose_is_named() -> None:
    for purpose in Purpose:
        assert purpose.name in section("Digests and signatures")


def test_outcomes_are_named() -> None:
    for outcome in Outcome:
        assert f"{int(outcome)} {outcome.name.lower()}" in section("40 ")


def test_bounds_are_those_of_the_code() -> None:
    assert f"1 … {limits.ENTRY_BODY_BYTES_MAX}" in section("Entry")
    assert f"1 … {limits.ENTRY_RECORDS_MAX}" in section("Entry")
    assert f"{limits.HEADER_BYTES_MAX} bytes" in section("Entry")
    assert f"1 … {limits.RESULTS_ROWS_MAX} rows" in section("40 ")
    assert f"{limits.DATASET_DOC_BYTES_MAX // 1024} KiB" in section("12 ")
    assert f"{limits.COMMAND_DOC_BYTES_MAX // 1024} KiB" in section("13 ")
    assert f"at most {limits.RANGES_MAX} numbers" in section("Records")


def test_the_fields_of_claims_and_beacons_are_listed_in_order() -> None:
    rows = re.findall(r"^\| (\w+) \|", section("Claims"), re.M)
    listed = [field.name for cls in (Claim, Answer, Recall) for field in fields(cls)]
    heads = [i for i, row in enumerate(rows) if row == "field"]
    assert [row for row in rows if row != "field"] == [
        {"retry_s": "retry"}.get(name, name) for name in listed
    ]
    assert len(heads) == 3
    rows = re.findall(r"^\| \d+ \| (\w+) \|", section("Beacons"), re.M)
    assert rows == [field.name for field in fields(Beacon)]


def test_bounds_of_claims_and_beacons_are_those_of_the_code() -> None:
    assert f"{limits.CLAIM_BYTES_MAX // 1024} KiB" in section("Claims")
    assert f"≤ {limits.WORKER_KINDS_MAX} workers" in section("Claims")
    assert f"≤ {limits.HELD_MAX} × [label, int]" in section("Claims")
    assert f"≤ {limits.ANSWER_ENTRIES_MAX} refs" in section("Claims")
    assert f"{limits.BEACON_BYTES_MAX // 1024} KiB" in section("Beacons")
    assert f"≤ {limits.WANTS_MAX} × [label, shape, free, movable]" in section("Beacons")
    assert f"≤ {limits.RUNNING_MAX} × [label, int]" in section("Beacons")
    assert f"≤ {limits.BATCH_KINDS_MAX} × text … {limits.BATCH_KIND_BYTES_MAX}" in section(
        "Beacons"
    )
    host, why = limits.BAN_HOST_BYTES_MAX, limits.BAN_WHY_BYTES_MAX
    row = f"≤ {limits.BANS_MAX} × [text … {host}, int < 2⁴⁷, text … {why}]"
    assert row in section("Beacons")
    assert f"{limits.BEACON_FIELDS_MAX} in all" in section("Beacons")


def test_every_request_is_named() -> None:
    kinds = {
        claims.CLAIM, claims.RECALL, canvass.CANVASS, entryrequests.KIND, fileserver.KIND,
        fileserver.KIND_MANY, keeping.KEEP, needs.KIND, roots.ROOTS, units.LIVE, units.TAIL,
        units.WHY, moving.SHARD,
    }  # fmt: skip
    missing = [kind for kind in kinds if f"`{kind}`" not in PAGE]
    assert not missing


def test_bounds_of_files_are_those_of_the_code() -> None:
    table = section("Files and units")
    assert f"≤ {filenames.MANY_MAX} packed names" in table
    assert f"larger than {filenames.SMALL_BYTES_MAX // 1024} KiB" in table
    assert f"at most {filenames.PIECE_BYTES_MAX // 1024} KiB of it" in table
    assert filenames.SIZE_MAX == units.OFFSET_MAX == 2**40

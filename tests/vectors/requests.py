"""Test vectors of what members ask each other, and of a beacon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from federation import claims
from federation.beacon import read_beacon, write_beacon
from federation.claims import Answer, Recall, Recalled, Verdict
from federation.entryrequests import read_ref, write_ref
from federation.ids import ShardID, SiteID
from node.meshing import filenames, units
from tests.fuzz.targets.requests import CLAIM, DATASET, ENTRY, IN_CONTROL, PIECES, UNIT
from tests.unit.federation.builders import KEY
from tests.unit.federation.test_beacon import BARRED, USUAL

BEACON = replace(USUAL, site=SiteID(KEY.site))
# What the code makes of a body, and the body again.
READS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "claim": (claims.read_claim, claims.write_claim),
    "claim answered": (claims.read_answer, claims.write_answer),
    "recall": (claims.read_recall, claims.write_recall),
    "recall answered": (claims.read_recalled, claims.write_recalled),
    "floe.entry": (read_ref, write_ref),
    "file of a dataset": (filenames.read_piece, filenames.write_piece),
    "file of an attempt": (filenames.read_piece, filenames.write_piece),
    "file answered": (filenames.read_answer, lambda found: filenames.write_answer(*found)),
    "files": (filenames.read_many, filenames.write_many),
    "files answered": (lambda data: filenames.read_contents(data, 2), filenames.write_contents),
    "unit.tail": (units.read_ask, lambda asked: units.write_ask(*asked)),
    "beacon": (read_beacon, write_beacon),
    "beacon of a site with batch systems": (read_beacon, write_beacon),
}


def bodies() -> dict[str, bytes]:
    """By the request's name; all are msgpack."""
    recall = Recall(ShardID(b"s" * 32), DATASET, 1, (1, 2), 9)
    values: dict[str, Any] = {
        "claim": CLAIM,
        "claim answered": Answer(Verdict.GRANTED, (IN_CONTROL,), 40, 0),
        "recall": recall,
        "recall answered": Recalled(9),
        "floe.entry": ENTRY,
        "file of a dataset": PIECES["of a dataset"],
        "file of an attempt": PIECES["of an attempt"],
        "file answered": (70_000, b"the end of it"),
        "files": list(PIECES.values()),
        "files answered": [b"all of it", None],
        "unit.tail": (UNIT, 12),
        "beacon": BEACON,
        "beacon of a site with batch systems": replace(BARRED, site=SiteID(KEY.site)),
    }
    return {name: READS[name][1](value) for name, value in values.items()}

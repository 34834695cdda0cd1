"""The signed document by which an admin forces a shard on whose leader is gone for good; pure.

    {"floe": 1, "kind": "shard.force", "shard": hex id, "site": hex key and "generation" of the new
     leader, "term", "cut": {"site", "generation", "seq", "entry"}, "nonce": hex}

as canonical JSON. The cut names the last entry of the old leader's control feed that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from federation import limits
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from node.model.kinds import Int, Key, Table, Text
from node.model.problems import Enough, Invalid, Report, placed
from node.model.validate import HEX32, HEX64, canonical, parse_canonical

KIND: Final = "shard.force"

_GENERATION: Final = Int(limits.GENERATION_MIN, limits.GENERATION_MAX)
_CUT: Final = Table(
    (
        Key("site", HEX64, "", required=True),
        Key("generation", _GENERATION, "", required=True),
        Key("seq", Int(1, limits.SEQ_MAX), "", required=True),
        Key("entry", HEX64, "", required=True),
    )
)
_FORCE: Final = Table(
    (
        Key("floe", Int(1, 1), "", required=True),
        Key(
            "kind",
            Text(11, KIND.replace(".", r"\."), "is another kind", f'"{KIND}"'),
            "",
            required=True,
        ),
        Key("shard", HEX64, "", required=True),
        Key("site", HEX64, "", required=True),
        Key("generation", _GENERATION, "", required=True),
        Key("term", Int(1, limits.TERM_MAX), "", required=True),
        Key("cut", _CUT, "", required=True),
        Key("nonce", HEX32, "", required=True),
    )
)


@dataclass(frozen=True, slots=True)
class ForceOrder:
    """What an admin signs. leader: the control feed that the log goes on in, behind the cut."""

    shard: ShardID
    term: int
    leader: FeedID
    cut: EntryRef
    nonce: bytes


def write_force(order: ForceOrder) -> bytes:
    """The bytes to sign. Raises Invalid, as reading would."""
    document = canonical(
        {
            "floe": 1,
            "kind": KIND,
            "shard": order.shard.hex(),
            "site": order.leader.site.hex(),
            "generation": order.leader.generation,
            "term": order.term,
            "cut": {
                "site": order.cut.feed.site.hex(),
                "generation": order.cut.feed.generation,
                "seq": order.cut.seq,
                "entry": order.cut.id.hex(),
            },
            "nonce": order.nonce.hex(),
        }
    )
    read_force(document)
    return document


def read_force(document: bytes) -> ForceOrder:
    """Check a signed document. Raises Invalid with all errors."""
    table = parse_canonical(document)
    report = Report()
    clean: Mapping[str, Any] = {}
    with suppress(Enough):
        clean = _FORCE.check(table, (), report)
    if report.problems:
        raise Invalid(placed(report.problems, {}, {}), KIND)
    cut = clean["cut"]
    old = FeedID(SiteID(bytes.fromhex(cut["site"])), cut["generation"], Lane.CONTROL)
    return ForceOrder(
        shard=ShardID(bytes.fromhex(clean["shard"])),
        term=clean["term"],
        leader=FeedID(SiteID(bytes.fromhex(clean["site"])), clean["generation"], Lane.CONTROL),
        cut=EntryRef(old, cut["seq"], EntryID(bytes.fromhex(cut["entry"]))),
        nonce=bytes.fromhex(clean["nonce"]),
    )

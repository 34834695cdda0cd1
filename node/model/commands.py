"""A user's signed orders about a dataset: canonical JSON of kind "command".

    {"floe": 1, "kind": "command", "dataset": hex id, "verb": ..., "args": {...},
     "follows": [hex order ids], "nonce": hex}

verb and args: pause {}, resume {}; cancel, retry and renew {"select": {"tasks": [names],
"jobs": flat half-open ranges}}, either left out for all; edit {"needs": {task: {key: value}},
"priority"}; extend {"jobs": more per cell}.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from node.model.description import NEEDS, TASK_NAME, UNITS_MAX
from node.model.kinds import Int, Key, Kind, ListOf, MapOf, Table, Text
from node.model.problems import Enough, Invalid, Report, placed
from node.model.validate import HEX32, HEX64, canonical, parse_canonical

VERBS: Final = ("pause", "resume", "cancel", "retry", "edit", "extend", "renew")
RANGES_MAX: Final = 4096
FOLLOWS_MAX: Final = 64

_SELECT: Final = Table(
    (
        Key("tasks", ListOf(TASK_NAME, 64, 1), ""),
        Key("jobs", ListOf(Int(0, UNITS_MAX), 2 * RANGES_MAX, 2), ""),
    )
)
_CHOICE: Final = Table((Key("select", _SELECT, ""),))
_ARGS: Final[Mapping[str, Kind]] = {
    "pause": Table(()),
    "resume": Table(()),
    "cancel": _CHOICE,
    "retry": _CHOICE,
    "renew": _CHOICE,
    "edit": Table(
        (
            Key("needs", MapOf(TASK_NAME, NEEDS, 64), ""),
            Key("priority", Int(0, 100), ""),
        )
    ),
    "extend": Table((Key("jobs", Int(1, UNITS_MAX), "", required=True),)),
}


class _Args:
    """Checked by verb, once that is known."""

    def check(self, value: Any, path: tuple[str | int, ...], report: Report) -> Any:
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "object"}


_VERB: Final = Text(7, "|".join(VERBS), "is no order", "write one of " + ", ".join(VERBS))
_COMMAND: Final = Table(
    (
        Key("floe", Int(1, 1), "", required=True),
        Key("kind", Text(7, "command", "is another kind", '"command"'), "", required=True),
        Key("dataset", HEX64, "", required=True),
        Key("verb", _VERB, "", required=True),
        Key("args", _Args(), "", required=True),
        Key("follows", ListOf(HEX64, FOLLOWS_MAX), "", required=True),
        Key("nonce", HEX32, "", required=True),
    )
)


@dataclass(frozen=True, slots=True)
class Command:
    """A checked order. follows: ids of the orders of this dataset that its author knew."""

    dataset: bytes
    verb: str
    args: Mapping[str, Any]
    follows: tuple[bytes, ...]
    nonce: bytes

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Names of the chosen tasks; None: all."""
        chosen = self.args.get("select", {}).get("tasks")
        return None if chosen is None else tuple(chosen)

    @property
    def jobs(self) -> tuple[int, ...] | None:
        """Chosen jobs as flat half-open ranges; None: all."""
        chosen = self.args.get("select", {}).get("jobs")
        return None if chosen is None else tuple(chosen)


def command_document(
    dataset: bytes,
    verb: str,
    args: Mapping[str, Any] | None = None,
    follows: Sequence[bytes] = (),
    nonce: bytes | None = None,
) -> bytes:
    """The bytes to sign; nonce: 16 bytes, fresh if absent. Raises Invalid, as reading would."""
    document = canonical(
        {
            "floe": 1,
            "kind": "command",
            "dataset": dataset.hex(),
            "verb": verb,
            "args": dict(args or {}),
            "follows": [order.hex() for order in follows],
            "nonce": (nonce or secrets.token_bytes(16)).hex(),
        }
    )
    read_command(document)
    return document


def order_id(document: bytes) -> bytes:
    """The id of a signed order: 32 bytes."""
    from keys.signing import Purpose, digest  # loads libsodium, which reading needs not

    return digest(Purpose.COMMAND, document)


def read_command(document: bytes) -> Command:
    """Check a signed order. Raises Invalid with all errors."""
    table = parse_canonical(document)
    report = Report()
    with suppress(Enough):
        clean = _COMMAND.check(table, (), report)
        if not report.problems:
            clean["args"] = _ARGS[clean["verb"]].check(clean["args"], ("args",), report)
        if not report.problems:
            _check_args(clean["verb"], clean["args"], report)
    if report.problems:
        raise Invalid(placed(report.problems, {}, {}), "command")
    return Command(
        dataset=bytes.fromhex(clean["dataset"]),
        verb=clean["verb"],
        args=clean["args"],
        follows=tuple(bytes.fromhex(order) for order in clean["follows"]),
        nonce=bytes.fromhex(clean["nonce"]),
    )


def _check_args(verb: str, args: Mapping[str, Any], report: Report) -> None:
    if verb == "edit" and not args:
        report.add(("args",), "edits nothing", "give needs or a priority")
    jobs = args.get("select", {}).get("jobs", [])
    pairs = list(zip(jobs[::2], jobs[1::2], strict=False))
    rising = all(lo < hi for lo, hi in pairs)
    apart = all(a[1] <= b[0] for a, b in pairwise(pairs))
    if len(jobs) % 2 or not rising or not apart:
        right = "write lo, hi, lo, hi, ..., ascending, hi not included"
        report.add(("args", "select", "jobs"), "is no list of ranges", right)

"""A user's signed orders."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.signing import Purpose, digest
from node.model.commands import VERBS, command_document, order_id, read_command
from node.model.problems import Invalid
from node.model.validate import canonical

DATASET = bytes(range(32))
NONCE = bytes(16)
RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("pause", {}),
    ("resume", {}),
    ("cancel", {}),
    ("cancel", {"select": {"tasks": ["sim"], "jobs": [0, 5, 7, 9]}}),
    ("retry", {"select": {"jobs": [3, 4]}}),
    ("renew", {"select": {"tasks": ["sim"], "jobs": [3, 4]}}),
    ("edit", {"priority": 70}),
    ("edit", {"needs": {"sim": {"memory": "4GB", "gpu": 1}}}),
    ("extend", {"jobs": 500}),
]


@pytest.mark.parametrize(("verb", "args"), RIGHT)
def test_an_order_reads_back(verb: str, args: dict[str, Any]) -> None:
    follows = [bytes([n]) * 32 for n in (3, 1)]
    document = command_document(DATASET, verb, args, follows, NONCE)
    order = read_command(document)
    assert (order.dataset, order.verb, order.args) == (DATASET, verb, args)
    assert (order.follows, order.nonce) == (tuple(follows), NONCE)
    assert order_id(document) == digest(Purpose.COMMAND, document)


def test_every_verb_is_tried() -> None:
    assert {verb for verb, _ in RIGHT} == set(VERBS)


def test_a_selection_left_out_means_all() -> None:
    order = read_command(command_document(DATASET, "cancel"))
    assert (order.tasks, order.jobs) == (None, None)
    chosen = {"select": {"tasks": ["a"], "jobs": [0, 2]}}
    order = read_command(command_document(DATASET, "cancel", chosen))
    assert (order.tasks, order.jobs) == (("a",), (0, 2))


def test_two_equal_orders_are_two_orders() -> None:
    first, second = (command_document(DATASET, "pause") for _ in range(2))
    assert order_id(first) != order_id(second)


@pytest.mark.parametrize(
    ("verb", "args", "said"),
    [
        ("stop", {}, "no order"),
        ("pause", {"now": True}, "unknown key"),
        ("cancel", {"jobs": [0, 1]}, "unknown key"),
        ("cancel", {"select": {"jobs": []}}, "write 2 to"),
        ("cancel", {"select": {"jobs": [0]}}, "write 2 to"),
        ("cancel", {"select": {"jobs": [0, 1, 2]}}, "list of ranges"),
        ("cancel", {"select": {"jobs": [2, 2]}}, "list of ranges"),
        ("cancel", {"select": {"jobs": [5, 6, 0, 2]}}, "list of ranges"),
        ("cancel", {"select": {"jobs": [0, 5, 4, 6]}}, "list of ranges"),
        ("cancel", {"select": {"jobs": [-1, 5]}}, "out of range"),
        ("cancel", {"select": {"tasks": []}}, "write 1 to"),
        ("cancel", {"select": {"tasks": ["a b"]}}, "no name of a task"),
        ("edit", {}, "edits nothing"),
        ("edit", {"priority": 101}, "0 to 100"),
        ("edit", {"needs": {"sim": {"memory": "4"}}}, "no size"),
        ("edit", {"needs": {"sim": {"os": ["el9"]}}}, "not yet supported"),
        ("extend", {}, "is missing"),
        ("extend", {"jobs": 0}, "out of range"),
        ("extend", {"jobs": -5}, "out of range"),
    ],
)
def test_a_bad_order_is_neither_written_nor_read(verb: str, args: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        command_document(DATASET, verb, args)
    table = json.loads(command_document(DATASET, "pause")) | {"verb": verb, "args": args}
    with pytest.raises(Invalid, match=said):
        read_command(canonical(table))


@pytest.mark.parametrize(
    "changes",
    [
        {"floe": 2},
        {"kind": "dataset"},
        {"dataset": "00"},
        {"nonce": ""},
        {"follows": ["00"]},
        {"follows": "0" * 64},
        {"args": []},
        {"extra": 1},
    ],
)
def test_a_bad_envelope_is_refused(changes: dict[str, Any]) -> None:
    table = json.loads(command_document(DATASET, "pause")) | changes
    with pytest.raises(Invalid):
        read_command(canonical(table))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        read_command(raw)


def test_orders_are_canonical() -> None:
    spaced = json.dumps(json.loads(command_document(DATASET, "pause")), sort_keys=True).encode()
    with pytest.raises(Invalid, match="not canonical"):
        read_command(spaced)

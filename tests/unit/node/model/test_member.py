"""The documents that admit, invite and revoke sites."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import limits
from federation.ids import SiteID
from keys.identity import SiteKey
from node.model.member import (
    Add,
    Invite,
    Order,
    Policy,
    Remove,
    document_id,
    hash_secret,
    read,
    write,
)
from node.model.problems import Invalid
from node.model.validate import canonical

A, B = (SiteID(SiteKey(letter * 32).site) for letter in (b"a", b"b"))
NONCE = bytes(range(16))
ADDRESSES = ("desy.example:7421", "[2001:db8::1]:7421")
ADD = Add(A, B, "desy", ADDRESSES, NONCE)
INVITE = Invite(A, "desy", ADDRESSES, hash_secret(b"s" * 32), 1_790_000_000_000, NONCE)
REMOVE = Remove(A, B, ((1, 7), (3, 2)), NONCE)
POLICY = Policy(A, 2, tuple(sorted((A, B))), "icecube", NONCE)


@pytest.mark.parametrize("order", [ADD, INVITE, REMOVE, POLICY], ids=lambda o: type(o).__name__)
def test_what_is_written_is_read_back(order: Order) -> None:
    document = write(order)
    assert read(document) == order
    assert json.loads(document)["by"] == A.hex()


def test_every_document_has_an_id_of_its_own() -> None:
    documents = [write(order) for order in (ADD, INVITE, REMOVE, POLICY)]
    assert len({document_id(document) for document in documents}) == 4


def changed(order: Order, **values: Any) -> bytes:
    table = json.loads(write(order)) | values
    return canonical({name: value for name, value in table.items() if value is not ...})


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (b"", "no JSON"),
        (b"[]", "no table"),
        (write(ADD) + b" ", "not canonical"),
        (changed(ADD, kind="member.ad"), "another kind"),
        (changed(ADD, kind=7), "another kind"),
        (changed(ADD, kind=...), "another kind"),
        (changed(ADD, floe=2), "out of range"),
        (changed(ADD, site="B" * 64), "no digest"),
        (changed(ADD, site=...), "missing"),
        (changed(ADD, site="62" * 32), "no Ed25519 public key"),
        (changed(REMOVE, site="00" * 32), "no Ed25519 public key"),
        (changed(ADD, role="admin"), "unknown key"),
        (changed(ADD, name="Desy"), "no site name"),
        (changed(ADD, name=""), "no site name"),
        (changed(ADD, addresses=["desy"]), "no port"),
        (changed(ADD, addresses=["a:1", "a:1"]), "twice"),
        (changed(ADD, addresses=["a:1"] * 9), "a list of 9"),
        (changed(ADD, addresses=[7]), "no port"),
        (changed(ADD, nonce="0" * 31), "no nonce"),
        (changed(INVITE, until_ms=-1), "out of range"),
        (changed(INVITE, until_ms=1e9), "no integer"),
        (changed(INVITE, until_ms=True), "no integer"),
        (changed(INVITE, secret="0" * 63), "no digest"),
        (changed(REMOVE, through=[[1, 0]]), "no place"),
        (changed(REMOVE, through=[[1]]), "no place"),
        (changed(REMOVE, through=[[1, 2], [1, 3]]), "twice"),
        (changed(REMOVE, through=[[2, 2], [1, 3]]), "ascending"),
        (changed(REMOVE, through=[[g, 1] for g in range(1, 66)]), "a list of 65"),
        (changed(POLICY, admissions=0), "out of range"),
        (changed(POLICY, admissions=17), "out of range"),
        (changed(POLICY, members=sorted([A.hex(), B.hex()], reverse=True)), "ascending"),
        (changed(POLICY, mesh="Ice Cube"), "no name of a mesh"),
    ],
)
def test_what_is_wrong_is_named(document: bytes, word: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(document)
    assert word in str(caught.value)


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        read(changed(ADD, name="Desy", addresses=["desy"], nonce=""))
    assert [problem.where for problem in caught.value.errors] == ["addresses[0]", "name", "nonce"]


def test_the_largest_documents_fit_their_records() -> None:
    many = tuple(SiteID(n.to_bytes(32, "big")) for n in range(limits.MEMBERS_MAX))
    policy = Policy(A, limits.ADMISSIONS_MAX, many, "m" * 32, NONCE)
    assert len(write(policy)) <= limits.POLICY_DOC_BYTES_MAX
    label = "x" * 60
    longest = tuple(f"{n}.{label}.{label}.{label}.{label}:65535" for n in range(8))
    assert len(write(Add(A, B, "d" * 32, longest, NONCE))) <= limits.MEMBER_DOC_BYTES_MAX
    invite = Invite(A, "d" * 32, longest, bytes(32), limits.WALL_CLOCK_MS_MAX, NONCE)
    assert len(write(invite)) <= limits.INVITE_DOC_BYTES_MAX
    through = tuple((limits.GENERATION_MAX - 64 + n, limits.SEQ_MAX) for n in range(64))
    assert len(write(Remove(A, B, through, NONCE))) <= limits.MEMBER_DOC_BYTES_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from([ADD, INVITE, REMOVE, POLICY]), st.data())
def test_any_value_in_any_place_is_read_or_refused(order: Order, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(json.loads(write(order)))))
    try:
        document = changed(order, **{name: data.draw(JSON)})
    except ValueError:
        return  # JSON cannot hold it
    with suppress(Invalid):
        assert write(read(document)) == document


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(document: bytes) -> None:
    with pytest.raises(Invalid):
        read(document)

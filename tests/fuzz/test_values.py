"""One value of a valid input at a time, replaced by whatever hypothesis thinks of."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import corpus
from tests.fuzz.forms import JSON, MSGPACK
from tests.fuzz.mutation import places
from tests.fuzz.target import Target, check
from tests.fuzz.targets import TARGETS

EXAMPLES = 120
IN_TREES = [target for target in TARGETS if target.form in (MSGPACK, JSON)]
_PLAIN = st.none() | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=40)
_NUMBERS = st.integers(-(2**63), 2**64 - 1)
OF_JSON = st.recursive(
    _PLAIN | _NUMBERS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
OF_MSGPACK = st.recursive(
    _PLAIN | _NUMBERS | st.floats() | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9), inner),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, target: Target, trees: list[Any]) -> bytes:
    """A kept input, one of its values another."""
    tree = [copy.deepcopy(draw(st.sampled_from(trees)))]
    parent, key = draw(st.sampled_from(places(tree)))
    parent[key] = draw(OF_JSON if target.form is JSON else OF_MSGPACK)
    return target.form.bytes_of(tree[0])


@pytest.mark.fuzz
@pytest.mark.parametrize("target", IN_TREES, ids=lambda target: target.name)
def test_any_value_in_any_place_is_taken_or_refused(target: Target) -> None:
    trees = []
    for path in corpus.files(target):
        try:
            trees.append(target.form.tree(path.read_bytes()))
        except ValueError:
            continue

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(changed(target, trees))
    def run(data: bytes) -> None:
        check(target, data)

    run()

"""The graph of tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model import dag
from node.model.after import BadAfter, parse


def test_parents_come_first_and_the_rest_keeps_its_order() -> None:
    assert dag.order([[2], [], [1], []]) == [1, 2, 0, 3]


def test_a_circle_is_named_whole() -> None:
    with pytest.raises(dag.Circle) as caught:
        dag.order([[], [2], [3], [1]])
    assert caught.value.tasks == (1, 2, 3, 1)


def test_a_task_after_itself_is_a_circle() -> None:
    with pytest.raises(dag.Circle):
        dag.order([[0]])


def test_descendants_are_everything_below() -> None:
    parents = [[], [0], [1], [0, 2], []]
    assert dag.children(parents) == [[1, 3], [2], [3], [], []]
    assert dag.descendants(parents, 1) == [2, 3]
    assert dag.descendants(parents, 3) == []


@given(st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=1, max_size=12))
def test_an_order_puts_every_task_behind_its_parents(edges: list[list[int]]) -> None:
    parents = [[p for p in above if p < own] for own, above in enumerate(edges)]
    places = {task: place for place, task in enumerate(dag.order(parents))}
    assert sorted(places) == list(range(len(parents)))
    assert all(places[p] < places[own] for own, above in enumerate(parents) for p in above)


def test_what_cannot_be_waited_for_is_not_quoted_at_any_length() -> None:
    with pytest.raises(BadAfter) as caught:
        parse("other/sim:" + 100_000 * "x")
    assert len(str(caught.value)) < 200

"""That the target which folds entries would see what the fold does not foresee."""

from __future__ import annotations

import pytest

from tests.fuzz.target import Fault, check
from tests.fuzz.targets import folding
from tests.fuzz.targets.folding import TARGETS, Story, read_entries

[TARGET] = TARGETS


def settled(story: Story) -> int:
    return int(story.conn.execute("SELECT count(*) FROM settled").get)


def test_results_are_accepted_and_count() -> None:
    story = Story()
    assert settled(story) == 5
    items = folding.codec.split_array(folding._seeds()["results of successes"], bytes_max=65_536)
    for entry in folding._sealed(items):
        story.take(entry)
    assert settled(story) == 10


def test_each_input_is_undone() -> None:
    [story] = folding._stories()
    before = settled(story), story.fold.__class__
    for data in folding._seeds().values():
        read_entries(data)
    assert (settled(story), folding._stories()[0].fold.__class__) == before


@pytest.mark.parametrize("raised", [KeyError, ValueError])
def test_an_error_that_the_fold_does_not_foresee_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
) -> None:
    def broken(*args: object) -> None:
        raise raised("planted")

    monkeypatch.setattr("node.fold.orders._cancel", broken)
    with pytest.raises(Fault, match=f"{raised.__name__}|planted"):
        check(TARGET, folding._seeds()["Command 1"])

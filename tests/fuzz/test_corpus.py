"""Every decoder takes or refuses, as it should, all inputs that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.corpus import FOUND, HERE, files
from tests.fuzz.target import Target, check
from tests.fuzz.targets import TARGETS

NAMED = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
# What somebody made wrong on purpose: kept to begin with, and refused.
WRONG = {
    "stored-document": {"zeros", "twice"},
    "pilot-announce": {"first"},  # its token has been used
    "pilot-refusal": {"no"},
}


@NAMED
def test_all_inputs_of_the_corpus_are_read_as_they_should_be(target: Target) -> None:
    for data in corpus.inputs(target):
        check(target, data)
        check(target, data, measure=True)


@NAMED
def test_the_corpus_is_what_the_code_writes_and_the_decoders_take_it(target: Target) -> None:
    kept = {path.name: path.read_bytes() for path in files(target)}
    made = {name.replace(" ", "-"): data for name, data in target.seeds().items()}
    assert made, f"{target.name} begins with nothing"
    assert kept.keys() >= made.keys(), "python -m tests.fuzz.seeds"
    assert all(name in made or name.startswith(FOUND) for name in kept)
    for name, data in made.items():
        wrong = name in WRONG.get(target.name, ()) or name.startswith("not-")
        assert check(target, kept[name]) is not wrong
        assert check(target, data) == check(target, kept[name])


def test_no_folder_of_the_corpus_is_forgotten() -> None:
    assert {path.name for path in Path(HERE).iterdir()} == {target.name for target in TARGETS}

"""The fuzzer finds what is planted, makes it small, keeps it, and says how to see it again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import pytest

from tests.fuzz import __main__ as program
from tests.fuzz.corpus import keep, write_seeds
from tests.fuzz.forms import FRAMES, JSON, MSGPACK, Form
from tests.fuzz.fuzzing import Fuzzer, smaller
from tests.fuzz.mutation import Mutator
from tests.fuzz.target import Fault, Target, check

SEED = msgpack.packb([1, "name", b"bytes" * 8, [2, 3]])


def unpacked(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException):
        raise ValueError("no msgpack") from None


def target(read: Callable[[bytes], Any], **more: Any) -> Target:
    values = {"name": "planted", "refuses": (ValueError,), "form": MSGPACK, **more}
    return Target(read=read, seeds=lambda: {"seed": SEED}, **values)


def test_an_error_that_is_not_documented_is_a_fault() -> None:
    def raises(data: bytes) -> None:
        raise KeyError("x")

    with pytest.raises(Fault, match="raised KeyError"):
        check(target(raises), SEED)


def test_memory_that_grows_beyond_the_input_is_a_fault() -> None:
    with pytest.raises(Fault, match="bytes of memory"):
        check(target(lambda data: bytearray(50_000_000)), SEED, measure=True)


def test_an_error_without_end_is_a_fault() -> None:
    def raises(data: bytes) -> None:
        raise ValueError("x" * 200_000)

    with pytest.raises(Fault, match="characters"):
        check(target(raises), SEED)


def test_what_does_not_come_back_as_it_was_is_a_fault() -> None:
    drops = target(unpacked, write=lambda value: msgpack.packb(value[:-1]))
    with pytest.raises(Fault, match="other bytes"):
        check(drops, SEED)
    # Not in its shortest form: another value is wrong, other bytes are not.
    long_one = b"\x91\xcd\x00\x01"
    assert check(target(unpacked, write=msgpack.packb), long_one)
    with pytest.raises(Fault, match="other bytes"):
        check(target(unpacked, write=msgpack.packb, strict=True), long_one)
    with pytest.raises(Fault, match="another value"):
        check(target(unpacked, write=lambda value: msgpack.packb([2])), long_one)


def test_a_planted_fault_is_found_kept_and_replayed(tmp_path: Path) -> None:
    def read(data: bytes) -> Any:
        value = unpacked(data)
        if type(value) is list and value[1:2] == [2**63 - 1]:
            raise OverflowError("too large for the store")
        return value

    planted = target(read)
    write_seeds(planted, tmp_path)
    [found] = Fuzzer([planted], 1, tmp_path).run(60)
    assert found.why.startswith("raised OverflowError")
    assert found.path.read_bytes() == found.data
    assert found.path.parent == tmp_path / "planted"
    assert f"--replay {found.path}" in found.words()
    with pytest.raises(Fault):
        check(planted, found.path.read_bytes())


def test_what_a_fault_does_not_need_is_left_out() -> None:
    def read(data: bytes) -> None:
        if b"<" in data and b">" in data:
            raise KeyError("both")

    planted = target(read)
    assert smaller(planted, b"a long input <with a lot> around it") == b"<>"
    assert smaller(planted, b"without it") == b"without it"


def test_the_time_is_kept_and_every_target_has_its_turn(tmp_path: Path) -> None:
    ticks = itertools.count()
    targets = [target(unpacked), target(unpacked, name="other")]
    for each in targets:
        write_seeds(each, tmp_path)
    fuzzer = Fuzzer(targets, 1, tmp_path)
    assert fuzzer.run(300, lambda: float(next(ticks))) == []
    assert min(fuzzer.tried.values()) > 30
    assert sum(fuzzer.tried.values()) < 300


@pytest.mark.parametrize(
    ("form", "seed"),
    [(MSGPACK, SEED), (JSON, b'{"a":[1,{"b":"c"}]}'), (FRAMES, b"\0\0\0\2\x91\x03\0\0\0\1\x90")],
    ids=lambda value: value.name if isinstance(value, Form) else "",
)
def test_the_same_seed_makes_the_same_inputs_and_many_still_have_their_form(
    form: Form, seed: bytes
) -> None:
    def made() -> list[bytes]:
        mutator = Mutator(Random(7), form, 1000)
        return [mutator.next([seed, b""]) for _ in range(300)]

    inputs = made()
    assert inputs == made()
    assert all(len(data) <= 1000 for data in inputs)
    assert len(set(inputs)) > 100
    assert sum(form.canonical(data) for data in inputs) > 50


def test_a_file_of_the_corpus_is_replayed_by_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = keep(program.BY_NAME["header"], b"\x90", tmp_path)
    assert program.replay(path) == 0
    assert "header: refused" in capsys.readouterr().out

"""The node's edge: only whole, canonical, right documents become datasets."""

from __future__ import annotations

import copy
import json
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.signing import Purpose, digest
from node.model.dataset import After, Needs
from node.model.problems import Invalid
from node.model.rules import Foreign
from node.model.validate import (
    canonical,
    check_stored_size,
    pack_document,
    read_submission,
    unpack_document,
)
from tests.unit.node.model.drafts import built, small, spec_of, with_module, with_task


def document(**changes: Any) -> dict[str, Any]:
    """A signed document as a table."""
    table: dict[str, Any] = json.loads(built(small()).document)
    return table | changes


def said(table: Any) -> str:
    with pytest.raises(Invalid) as caught:
        read_submission(table if isinstance(table, bytes) else canonical(table))
    return str(caught.value)


def described(**changes: Any) -> dict[str, Any]:
    table = document()
    table["description"] |= changes
    return table


# --- bytes


def test_the_id_is_the_digest_of_the_signed_bytes() -> None:
    made = built(small())
    assert made.id == read_submission(made.document).id == digest(Purpose.DATASET, made.document)


def test_documents_are_canonical_json() -> None:
    made = built(small(jobs=3)).document
    assert canonical(json.loads(made)) == made
    spaced = json.dumps(json.loads(made), sort_keys=True).encode()
    assert "not canonical" in said(spaced)
    unsorted = json.dumps(json.loads(made), separators=(",", ":"))
    flipped = json.loads(unsorted)
    flipped = {key: flipped[key] for key in reversed(flipped)}
    assert "not canonical" in said(json.dumps(flipped, separators=(",", ":")).encode())
    escaped = json.dumps(json.loads(built(small(description="é")).document), sort_keys=True)
    assert "not canonical" in said(escaped.encode())


def test_a_key_twice_is_not_canonical() -> None:
    made = built(small()).document
    assert "not canonical" in said(made.replace(b'"floe":1,', b'"floe":1,"floe":1,', 1))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no JSON"),
        (b"[]", "no table"),
        (b"null", "no table"),
        (b"\xff", "no JSON"),
        (b'{"a":NaN}', "no JSON"),
        (b'{"a":"\\ud800"}', "no JSON"),
        (b"[" * 10_000 + b"]" * 10_000, "nested deeper"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested deeper"),
        (b" " * 3_000_000, "too many"),
        (b"9" * 5000, "no JSON"),
    ],
)
def test_what_is_no_document_is_refused(raw: bytes, why: str) -> None:
    began = time.process_time()
    assert why in said(raw)
    assert time.process_time() - began < 1


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(raw: bytes) -> None:
    said(raw)


@given(st.data())
def test_a_flipped_byte_is_refused_or_changes_the_id(data: st.DataObject) -> None:
    made = built(small())
    raw = bytearray(made.document)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with suppress(Invalid):
        assert read_submission(bytes(raw)).id != made.id


# --- compression


def test_packing_is_undone() -> None:
    made = built(small()).document
    assert unpack_document(pack_document(made)) == made


def test_a_bomb_a_stump_and_a_tail_are_refused() -> None:
    bomb = zlib.compress(b"a" * 20_000_000, 9)
    made = pack_document(built(small()).document)
    for stored in (bomb, made[:-1], made + b"x", b"", b"nonsense"):
        with pytest.raises(Invalid):
            unpack_document(stored)


def test_the_stored_size_is_bounded() -> None:
    with pytest.raises(Invalid, match="at most 49,152"):
        check_stored_size(
            bytes(zlib.crc32(bytes([n % 251, n // 251 % 251])) % 251 for n in range(99_999))
        )


# --- the envelope


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"floe": 2}, "floe  2 is out of range"),
        ({"kind": "command"}, "another kind"),
        ({"nonce": "0" * 31}, "no nonce"),
        ({"nonce": "A" * 32}, "no nonce"),
        ({"extra": 1}, "unknown key"),
        ({"description": 5}, "no table"),
        ({"files": []}, "no table"),
        ({"files": {"a": {"digest": "00", "size": 1, "mode": 420}}}, "no digest"),
        ({"files": {"a": {"digest": "0" * 64, "size": -1, "mode": 420}}}, "out of range"),
        ({"files": {"a": {"digest": "0" * 64, "size": 2 << 30, "mode": 420}}}, "out of range"),
        ({"files": {"a": {"digest": "0" * 64, "size": 1, "mode": 0o4755}}}, "out of range"),
        ({"files": {"../a": {"digest": "0" * 64, "size": 1, "mode": 420}}}, "leaves the scratch"),
        ({"files": {"/a": {"digest": "0" * 64, "size": 1, "mode": 420}}}, "leaves the scratch"),
        ({"foreign": {"x": {"id": "0" * 64, "jobs": 1, "tasks": ["a"]}}}, "nothing waits for it"),
        ({"foreign": {"x": {"id": "0" * 64, "jobs": 0, "tasks": ["a"]}}}, "out of range"),
    ],
)
def test_a_bad_envelope_is_refused(changes: dict[str, Any], why: str) -> None:
    assert why in said(document(**changes))


@pytest.mark.parametrize("key", ["floe", "kind", "nonce", "description", "files", "foreign"])
def test_every_key_of_the_envelope_is_required(key: str) -> None:
    table = document()
    del table[key]
    assert f"{key}  is missing" in said(table)


def test_the_description_is_checked_like_anybodys() -> None:
    assert "unknown key" in said(described(memroy=1))
    assert "not yet supported" in said(described(max_running=1))
    assert "out of range" in said(described(jobs=0))
    assert "{nope} is unknown" in said(described(params={"a": "{nope}"}))
    assert "cannot be extended" in said(described(params={"a": "{jobs}"}, extend=True))


def test_files_and_matrix_have_one_place_and_one_form() -> None:
    assert "beside it" in said(described(files=["a"]))
    assert "beside it" in said(described(foreach={"file": "a.csv"}))
    assert "no list of" in said(described(matrix={"a": [1]}))
    assert "no list of" in said(described(matrix=[["a", [1]], ["a", [2]]]))
    assert "no list of" in said(described(matrix=[["a"]]))
    assert "write 1 to" in said(described(matrix=[["a", []]]))


def test_a_dataset_that_is_not_resolved_is_refused() -> None:
    table = json.loads(built(with_task(after=["other/sim"])).document)
    del table["foreign"]["other"]
    assert 'dataset "other" is not resolved' in said(table)


def test_foreign_tasks_and_jobs_are_checked_again() -> None:
    table = json.loads(built(with_task(after=["other/sim"]) | {"jobs": 10}).document)
    less = copy.deepcopy(table)
    less["foreign"]["other"]["jobs"] = 9
    assert "other has 9 jobs" in said(less)
    table["foreign"]["other"]["tasks"] = ["gen"]
    assert 'no task "sim"' in said(table)


def test_columns_of_a_foreach_file_are_names() -> None:
    blob = {"digest": "0" * 64, "size": 9, "rows": 3, "columns": ["run"], "format": "csv"}
    table = document(foreach=blob)
    spec = read_submission(canonical(table))
    assert spec.foreach is not None
    assert (spec.jobs, spec.cells, spec.foreach.size) == (3, 3, 9)
    for bad in ({"columns": ["job"]}, {"columns": ["a", "a"]}, {"columns": []}, {"rows": 0}):
        said(document(foreach=blob | bad))
    said(
        document(foreach=blob)
        | {"description": described()["description"] | {"foreach": {"rows": [{"a": 1}]}}}
    )


def test_rows_that_only_the_client_has_seen_do_not_stop_the_node() -> None:
    blob = {"digest": "0" * 64, "size": 9, "rows": 3, "columns": ["run"], "format": "csv"}
    table = described(params={"next": "{run + 1}"}) | {"foreach": blob}
    assert read_submission(canonical(table)).jobs == 3


# --- what comes out


def test_defaults_are_those_of_the_reference() -> None:
    spec = spec_of(small())
    assert (spec.group, spec.priority, spec.jobs, spec.cells, spec.extend) == ("", 50, 1, 1, True)
    assert spec.tasks[0].needs == Needs(1, 0, 10**9, 10**9, 3600)
    assert spec.tasks[0].retry_max == 3
    assert spec.tasks[0].sites == {}
    assert spec.foreach is None


def test_jobs_are_per_cell_and_row() -> None:
    spec = spec_of(
        small(jobs=4, matrix={"a": [1, 2], "b": [1, 2, 3]}, foreach={"rows": [{"r": 1}] * 5})
    )
    assert (spec.cells, spec.jobs) == (30, 120)


def test_needs_retry_and_sites_of_a_task_override_by_key() -> None:
    table = with_task(needs={"memory": "2GiB", "gpu": 1}, retry={"max": 0}, sites={"avoid": ["x*"]})
    table |= {"needs": {"memory": "5GB", "time": "2h"}, "retry": {"max": 7}}
    table |= {"sites": {"only": ["desy"], "avoid": ["y"]}}
    task = spec_of(table).tasks[0]
    assert task.needs == Needs(1, 1, 2 << 30, 10**9, 7200)
    assert task.retry_max == 0
    assert task.sites == {"only": ("desy",), "avoid": ("x*",)}


def test_dependencies_are_compiled() -> None:
    table = with_task(after=["other/sim:*", "other/gen"])
    table["task"].append({"name": "b", "after": ["sim"], "module": [{"run": ["x"]}]})
    first, second = spec_of(table).tasks
    other = Foreign(b"o" * 32, 10, ("gen", "sim"))
    assert first.after == (
        After("other/sim:*", 1, "sim", other.id, "other", True, 10),
        After("other/gen", 0, "gen", other.id, "other", False, 10),
    )
    assert second.after == (After("sim", 0, "sim"),)


def test_files_become_digests_with_size_and_mode(tmp_path: Path) -> None:
    (tmp_path / "gen.py").write_bytes(b"print()")
    (tmp_path / "gen.py").chmod(0o750)
    spec = spec_of(small(files=["gen.py", {"from": "gen.py", "to": "bin/g"}]), tmp_path)
    assert [(f.to, f.size, f.mode) for f in spec.files] == [
        ("bin/g", 7, 0o750),
        ("gen.py", 7, 0o750),
    ]
    assert spec.files[0].digest == spec.files[1].digest


def test_the_nonce_makes_ids_differ() -> None:
    from node.model.document import load

    draft = load(small())
    assert draft.build().id != draft.build().id
    assert draft.build(nonce=b"n" * 16).id == draft.build(nonce=b"n" * 16).id


def test_a_normal_document_costs_little_and_a_large_one_is_bounded() -> None:
    tasks = [
        {
            "name": f"t{n}",
            "after": [f"t{n - 1}"] if n else [],
            "module": [{"run": ["python3", "x.py", "--seed", "{seed}", "{flavor}"]}],
        }
        for n in range(4)
    ]
    table = small(task=tasks, params={"seed": "{20000 + job}"}, matrix={"flavor": ["a", "b"]})
    raw = built(table).document
    read_submission(raw)
    began = time.process_time()
    for _ in range(10):
        read_submission(raw)
    assert (time.process_time() - began) / 10 < 0.02  # 1 ms on an idle machine


def test_literal_modules_pass() -> None:
    assert spec_of(with_module(run=["{", "}", "${job}"], expand=False)).jobs == 1

"""The user's files: found, measured, hashed, or refused with their place."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

import pytest

from node.model.document import load
from tests.unit.node.model.drafts import built, problems, small, with_module


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "gen.py").write_text("print()\n")
    (tmp_path / "cfg").mkdir()
    (tmp_path / "cfg/a.json").write_text("{}")
    return tmp_path


def test_files_become_blobs_named_by_their_content(here: Path) -> None:
    made = built(small(files=["gen.py", {"from": "cfg/a.json", "to": "a.json"}]), here)
    assert made.blobs == {
        blake2b(b"print()\n", digest_size=32).digest(): here / "gen.py",
        blake2b(b"{}", digest_size=32).digest(): here / "cfg/a.json",
    }
    assert [file.to for file in made.files] == ["gen.py", "a.json"]


def test_no_path_of_this_machine_is_signed(here: Path) -> None:
    document = built(small(files=["gen.py", {"from": str(here / "cfg/a.json"), "to": "a"}]), here)
    assert str(here).encode() not in document.document
    assert b"cfg/a.json" not in document.document


def test_a_path_below_is_kept_and_made_plain(here: Path) -> None:
    assert [f.to for f in built(small(files=["./cfg/../cfg/a.json"]), here).files] == ["cfg/a.json"]


def test_files_are_looked_up_beside_the_description(here: Path) -> None:
    (here / "d.toml").write_text(
        'floe=1\nname="d"\nfiles=["gen.py"]\n[[task]]\nname="a"\n[[task.module]]\nrun=["python3","gen.py"]\n'
    )
    assert len(load(here / "d.toml").build().files) == 1
    assert "no such file" in problems((here / "d.toml").read_text(), here / "cfg")["files[0]"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("none.py", "no such file"),
        ("cfg", "is a folder"),
        ("/etc/passwd", "leaves the scratch folder"),
        ("../x", "leaves the scratch folder"),
        ({"from": "gen.py", "to": "/x"}, "leaves the scratch folder"),
        ({"from": "gen.py", "to": "a/../x"}, "leaves the scratch folder"),
        ({"to": "x"}, "is missing"),
        ({"from": "gen.py", "mode": 5}, "unknown key"),
        (5, "cannot stand here"),
        ("", "is empty"),
        ("a\0b", "NUL"),
    ],
)
def test_a_bad_file_is_refused(here: Path, entry: object, said: str) -> None:
    found = problems(small(files=[entry]), here)
    assert said in " ".join(found.values())
    assert all(where.startswith("files[0]") for where in found)


def test_a_pipe_is_no_file(here: Path) -> None:
    os.mkfifo(here / "pipe")
    assert "no ordinary file" in problems(small(files=["pipe"]), here)["files[0]"]


def test_a_file_of_more_than_a_gibibyte_is_refused_by_its_size(here: Path) -> None:
    with (here / "big").open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert "at most 1 GiB" in problems(small(files=["big"]), here)["files[0]"]


def test_two_files_of_one_name_are_refused(here: Path) -> None:
    found = problems(small(files=["gen.py", {"from": "cfg/a.json", "to": "gen.py"}]), here)
    assert "stands here twice" in found["files[1]"]
    found = problems(small(files=["gen.py", {"from": "gen.py", "to": "gen.py/x"}]), here)
    assert "is a file and a folder" in found["files"]


def test_a_file_that_vanishes_before_it_is_read_is_refused(here: Path) -> None:
    draft = load(small(files=["gen.py"]), here)
    draft.check()
    (here / "gen.py").unlink()
    with pytest.raises(Exception, match="no such file"):
        draft.build()


def test_two_hundred_and_fifty_seven_files_are_too_many(here: Path) -> None:
    assert "0 to 256" in problems(small(files=["gen.py"] * 257), here)["files"]


def test_a_program_that_cannot_start_is_refused(here: Path) -> None:
    table = with_module(run=["./gen.py"]) | {"files": ["gen.py"]}
    assert "chmod +x gen.py" in problems(table, here)["task.sim.module[0].run"]
    (here / "gen.py").chmod(0o755)
    assert problems(table, here) == {}


def test_a_file_that_is_here_but_not_sent_is_warned_of(here: Path) -> None:
    made = built(with_module(run=["python3", "gen.py", "--cfg", "cfg/a.json"]), here)
    assert [w.what for w in made.warnings] == [
        '"gen.py" is here, but no unit will find it',
        '"cfg/a.json" is here, but no unit will find it',
    ]
    sent = with_module(run=["python3", "gen.py"]) | {"files": ["gen.py"]}
    assert built(sent, here).warnings == ()

"""Scratch folders: measured and emptied, whatever a payload made of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pilot import folders
from pilot.scratch import Scratch


def litter(folder: Path) -> None:
    """What payloads leave: depth, closed folders, pipes, links, names that clash with ours."""
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(1200):  # deeper than Python recurses, longer than a path may be
        os.mkdir("d" * 40)
        os.chdir("d" * 40)
    Path("end").write_text("end")
    os.chdir(here)
    (folder / ".floe-1").mkdir()
    (folder / ".floe-2").write_text("a name that moving up might use")
    (folder / "closed" / "in").mkdir(parents=True)
    (folder / "closed" / "in" / "x").touch()
    (folder / "closed" / "in").chmod(0)
    (folder / "closed").chmod(0)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/etc")
    (folder / "broken").symlink_to("nowhere")


def test_a_folder_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    litter(folder)
    assert folders.remove(str(folder))
    assert not folder.exists()
    assert Path("/etc/passwd").exists()


def test_emptying_keeps_the_folder_itself(tmp_path: Path) -> None:
    litter(tmp_path)
    inode = tmp_path.stat().st_ino
    assert folders.empty(str(tmp_path))
    assert (tmp_path.stat().st_ino, list(tmp_path.iterdir())) == (inode, [])


def test_removing_what_is_not_there_or_no_folder_is_fine(tmp_path: Path) -> None:
    assert folders.remove(str(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    assert folders.remove(str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()


def test_usage_counts_blocks_and_follows_no_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "big").write_bytes(b"x" * 1_000_000)
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "up").symlink_to("/usr")
    assert 976 <= folders.usage_kib(str(tmp_path)) < 1100


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", ["a.txt"]),
        ("a.txt", ["a.txt"]),
        ("**/*.txt", ["a.txt", "in/b.txt"]),
        ("in/*", ["in/b.txt"]),
        ("no*", []),
        ("[x].txt", ["[x].txt"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, found: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "in/b.txt", ".hidden"):
        (tmp_path / name).touch()
    if pattern.startswith("["):
        (tmp_path / "x.txt").touch()
        found = ["x.txt"]
    assert folders.files_matching(str(tmp_path), pattern, 10) == found


def test_no_more_matches_than_asked_for_are_looked_at(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"f{number}").touch()
    assert len(folders.files_matching(str(tmp_path), "*", 5)) == 6


def slot(tmp_path: Path) -> Scratch:
    folder = str(tmp_path / "slot")
    Scratch.make(folder)
    return Scratch(folder, folder, own_shared_memory=False)


def test_what_a_payload_did_to_its_folder_is_undone(tmp_path: Path) -> None:
    scratch = slot(tmp_path)
    Path(scratch.work, "x").write_bytes(b"x" * 100_000)
    os.chmod(scratch.work, 0o777)
    os.setxattr(scratch.tmp, "user.mine", b"1")
    Path(scratch.base, "beside").mkdir()
    assert 97 <= scratch.clean() < 150
    assert os.listdir(scratch.work) == []
    assert os.stat(scratch.work).st_mode & 0o777 == 0o700
    assert os.listxattr(scratch.tmp) == []
    assert sorted(os.listdir(scratch.base)) == ["out", "tmp", "work"]


def test_a_folder_that_was_replaced_is_not_trusted(tmp_path: Path) -> None:
    scratch = slot(tmp_path)
    os.rename(scratch.work, scratch.work + "-2")
    os.mkdir(scratch.work, 0o700)
    with pytest.raises(OSError, match="replaced"):
        scratch.clean()

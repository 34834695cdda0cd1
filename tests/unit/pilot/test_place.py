"""Each pilot works in a folder of its own; nothing stays, not even of pilots that were killed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pilot import place


def test_pilots_of_one_submission_get_a_folder_each(tmp_path: Path) -> None:
    names = [place.below([str(tmp_path)], "floe-x-12345678-1_0").folder for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert Path(name).parent == tmp_path
        assert "floe-x-12345678-1_0" in name
        assert stat.S_IMODE(os.stat(name).st_mode) == 0o700


def test_names_of_jobs_lead_nowhere(tmp_path: Path) -> None:
    made = place.below([str(tmp_path)], "../../14[3].server;x" + "y" * 500)
    assert Path(made.folder).parent == tmp_path
    assert len(os.path.basename(made.folder)) < 200


def test_the_first_folder_that_can_be_had_is_taken(tmp_path: Path) -> None:
    made = place.below([str(tmp_path / "gone"), str(tmp_path)], "a")
    assert Path(made.folder).parent == tmp_path
    with pytest.raises(FileNotFoundError, match="gone"):
        place.below([str(tmp_path / "gone")], "a")
    with pytest.raises(FileNotFoundError, match="no folder to work in"):
        place.below([], "a")


def test_a_pilot_takes_its_own_folder_away_but_not_one_that_it_was_given(tmp_path: Path) -> None:
    made, given = place.below([str(tmp_path)], "a"), place.given(str(tmp_path / "b"))
    Path(made.folder, "cache").mkdir()
    Path(given.folder, "note").write_text("kept")
    for each in (made, given, made):
        each.leave()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert Path(given.folder, "note").exists()


def test_what_a_killed_pilot_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    living, killed = (place.below([str(tmp_path)], name) for name in "lk")
    elsewhere, ours = (place.below([str(tmp_path)], name) for name in "eo")
    for dead in (killed, elsewhere):
        Path(dead.folder, "outbox").mkdir()
        assert dead._lock_fd is not None
        os.close(dead._lock_fd)  # as the kernel does it
    Path(elsewhere.folder, "lock").write_text("another host")
    (tmp_path / "floe-pilot-just-made").mkdir()
    (tmp_path / "floe-pilot-file").write_text("")
    (tmp_path / "floe-pilot-link").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    assert place.sweep(str(tmp_path)) == 1
    assert not Path(killed.folder).exists()
    for kept in (living, elsewhere, ours):
        assert Path(kept.folder).exists()
    assert len(list(tmp_path.iterdir())) == 7
    assert place.sweep(str(tmp_path / "nothing")) == 0

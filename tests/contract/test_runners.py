"""What every runner does, here and on a submit host alike."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schedulers.base import Command, Completed, SchedulerError
from schedulers.command import LocalRunner
from schedulers.runner import Lost, NotRun, Runner
from schedulers.ssh import SshRunner
from tests.clusters.rig import need
from tests.clusters.sshd import Sshd, alive, missing, sshd
from tests.fakes.spawning import Spawning
from tests.vectors.words import HOSTILE


class Place:
    """A runner, turned by hand, and a home folder of its own."""

    def __init__(self, loop: Spawning, runner: Runner, home: Path) -> None:
        self.loop, self.runner, self.home = loop, runner, home

    def run(self, *argv: str, stdin: bytes = b"", **more: Any) -> Completed:
        done = self.loop.result(self.runner.run(Command(argv, stdin), **more))
        assert isinstance(done, Completed)
        return done

    def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        self.loop.result(self.runner.put(path, content, mode))

    def get(self, path: str, bytes_max: int = 1000) -> bytes | None:
        got = self.loop.result(self.runner.get(path, bytes_max))
        assert got is None or isinstance(got, bytes)
        return got

    def remove(self, *paths: str) -> None:
        self.loop.result(self.runner.remove(paths))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    (folder / "home").mkdir()
    with sshd(folder, home=folder / "home") as running:
        yield running


@pytest.fixture(params=["here", "ssh"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    loop = Spawning()
    runner: Runner
    if request.param == "here":
        home = tmp_path / "home"
        runner = LocalRunner(loop.reactor, os.environ | {"HOME": str(home)})
    else:
        need("a submit host", missing())
        served: Sshd = request.getfixturevalue("daemon")
        home = served.folder / "home"
        shutil.rmtree(home)
        runner = SshRunner(loop.reactor, served.settings(), tmp_path / "run")
    home.mkdir()
    yield Place(loop, runner, home)
    loop.result(runner.close())
    loop.close()


def test_output_status_and_stdin_pass_through(place: Place) -> None:
    done = place.run("sh", "-c", "cat; echo on stderr >&2; exit 3", stdin=b"given")
    assert done == Completed(3, b"given", b"on stderr\n")


def test_a_command_that_says_nothing_has_said_nothing(place: Place) -> None:
    assert place.run("true") == Completed(0, b"", b"")


@pytest.mark.parametrize("status", [1, 124, 127, 153, 255])
def test_each_status_is_told_as_it_is(place: Place, status: int) -> None:
    assert place.run("sh", "-c", f"exit {status}").status == status


def test_a_signal_shows_as_a_negative_status(place: Place) -> None:
    assert place.run("sh", "-c", "kill -9 $$").status == -9


def test_words_arrive_as_they_were_given(place: Place) -> None:
    done = place.run("printf", "%s\\0", *HOSTILE)
    assert done.out.split(b"\0")[:-1] == [os.fsencode(word) for word in HOSTILE]


def test_stdin_and_stdout_carry_every_byte(place: Place) -> None:
    data = bytes(range(256)) * 4096
    assert place.run("cat", stdin=data).out == data


def test_a_command_need_not_read_its_stdin(place: Place) -> None:
    assert place.run("true", stdin=bytes(1 << 20)).status == 0


def test_commands_run_in_the_home_folder_in_english(place: Place) -> None:
    assert place.run("sh", "-c", 'pwd; echo "$LC_ALL"').out.decode().split() == [
        str(place.home), "C",
    ]  # fmt: skip
    assert place.loop.result(place.runner.home()) == str(place.home)


def test_a_missing_program_is_named_and_did_not_run(place: Place) -> None:
    with pytest.raises(NotRun, match="no program no-such-sbatch in PATH"):
        place.run("no-such-sbatch")


@pytest.mark.parametrize(
    "argv", [[], [""], ["echo", "a\0b"], ["echo", "x" * (1 << 17)], ["echo", *["x" * 1000] * 1100]]
)
def test_a_command_line_that_no_system_takes_is_not_run(place: Place, argv: list[str]) -> None:
    with pytest.raises(NotRun):
        place.run(*argv)


def test_a_command_that_hangs_is_ended_and_named(place: Place) -> None:
    with pytest.raises(Lost, match=r"sleep did not end within 0.2 s"):
        place.run("sleep", "1000", timeout_s=0.2)


def test_what_a_command_leaves_running_does_not_hold_it_up_and_is_ended(place: Place) -> None:
    pid = int(place.run("sh", "-c", "sleep 1000 & echo $!").out)
    place.loop.until(lambda: not alive(pid))


def test_all_that_a_late_command_started_is_ended(place: Place) -> None:
    script = "sleep 1000 & echo $! $$ >pids; wait"
    with pytest.raises(Lost):
        place.run("sh", "-c", script, timeout_s=2)  # until then it has begun
    pids = (place.home / "pids").read_text().split()
    place.loop.until(lambda: not any(alive(int(pid)) for pid in pids))


def test_endless_output_is_cut(place: Place) -> None:
    done = place.run("cat", "/dev/zero")
    assert (done.cut, len(done.out)) == (True, 32 << 20)


def test_many_commands_run_at_once(place: Place) -> None:
    runs = [place.runner.run(Command(["echo", str(number)])) for number in range(20)]
    outs: list[bytes] = []
    for each in [place.loop.begin(run) for run in runs]:
        outs.append(place.loop.result(each).out)
    assert outs == [b"%d\n" % number for number in range(20)]


def test_a_file_is_put_whole_private_and_with_its_folders(place: Place) -> None:
    content = bytes(range(256)) * 1000
    place.put("pilots/one two/settings.json", content)
    path = place.home / "pilots/one two/settings.json"
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["settings.json"]


def test_a_file_replaces_the_one_before_and_may_be_for_others(place: Place) -> None:
    path = place.home / "pilot.pyz"
    for content in (b"first", b""):
        place.put(str(path), content, 0o755)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_a_file_that_cannot_be_put_is_named_with_the_reason(place: Place) -> None:
    (place.home / "file").write_text("kept")
    (place.home / "folder").mkdir()
    with pytest.raises(SchedulerError, match=r"cannot write file/below: mkdir: "):
        place.put("file/below", b"x")
    with pytest.raises(SchedulerError, match=r"cannot write folder: it is a folder"):
        place.put("folder", b"x")
    assert (place.home / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o777, "others may write to the folder: chmod go-w"),
        (0o770, "others may write to the folder: chmod go-w"),
        (0o1777, "others may write to the folder: chmod go-w"),
    ],
)
def test_nothing_is_put_where_others_may_exchange_it(place: Place, mode: int, words: str) -> None:
    folder = place.home / "pilots"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SchedulerError, match=f"cannot write pilots/secret: pilots: {words}"):
        place.put("pilots/secret", b"token")
    assert os.listdir(folder) == []
    folder.chmod(0o755)
    place.put("pilots/secret", b"token")
    assert os.listdir(folder) == ["secret"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes a folder somebody else's")
def test_nothing_is_put_into_somebody_elses_folder(place: Place) -> None:
    """Who knows where pilots are to be may have made the folder first, and owns what is in it."""
    theirs = place.home / "pilots"
    theirs.mkdir(0o755)
    os.chown(theirs, 54321, -1)
    (place.home / "link").symlink_to(theirs)
    for path in ("pilots/secret", "link/secret"):
        with pytest.raises(SchedulerError, match="the folder is somebody else's"):
            place.put(path, b"token")
    assert os.listdir(theirs) == []


def test_nothing_is_put_below_a_folder_in_which_anybody_may_rename(place: Place) -> None:
    above = place.home / "scratch"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(SchedulerError, match="anybody may put another folder in its place"):
        place.put("scratch/ana/secret", b"token")
    above.chmod(0o1777)  # as in /tmp
    place.put("scratch/ana/secret", b"token")
    assert os.listdir(above / "ana") == ["secret"]


def test_of_a_log_the_end_comes(place: Place) -> None:
    (place.home / "log.0").write_bytes(bytes(100_000) + b"the end")
    assert place.get("log.0", 7) == b"the end"
    assert place.get(str(place.home / "log.0"), 1 << 20) == bytes(100_000) + b"the end"


def test_what_is_no_file_is_not_read(place: Place) -> None:
    os.mkfifo(place.home / "fifo")
    assert place.get("absent") is None
    with pytest.raises(SchedulerError, match="cannot read fifo: it is no regular file"):
        place.get("fifo")


def test_files_and_folders_are_removed_and_their_links_not_followed(place: Place) -> None:
    (place.home / "kept").mkdir()
    (place.home / "kept/file").write_text("")
    place.put("pilots/a/settings.json", b"x")
    place.put("pilots/-rf", b"x")
    (place.home / "pilots/a/link").symlink_to(place.home / "kept")
    place.remove("pilots/a", "pilots/-rf", "absent")
    assert os.listdir(place.home / "pilots") == []
    assert os.listdir(place.home / "kept") == ["file"]


def test_hundreds_of_files_are_removed_at_once(place: Place) -> None:
    names = [f"log.{number}" for number in range(250)]
    for name in names:
        (place.home / name).write_text("")
    place.remove(*names)
    assert not list(place.home.glob("log.*"))


@pytest.mark.parametrize("path", ["/", "/home/x", "..", "a/../../b", ".", "~", "~/..", ""])
def test_a_folder_of_many_purposes_is_not_removed(place: Place, path: str) -> None:
    with pytest.raises(SchedulerError):
        place.remove(path)


@pytest.mark.parametrize("path", ["", "a\nb", "x" * 5000])
def test_a_path_of_several_lines_or_none_is_refused(place: Place, path: str) -> None:
    with pytest.raises(SchedulerError, match="a path"):
        place.put(path, b"")
    with pytest.raises(SchedulerError, match="a path"):
        place.get(path)

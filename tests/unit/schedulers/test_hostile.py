"""What people write and what commands print means to no plugin more than it says: all of them.

Words are taken as they are or refused before anything is run. Output is read, or refused whole.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.base import Command, Completed, JobName, PilotSpec, Scheduler, SchedulerError
from schedulers.command import LocalRunner
from schedulers.htcondor import HTCondor
from schedulers.pbs import Pbs
from schedulers.sge import Sge
from schedulers.slurm import Slurm
from schedulers.texts import OUTPUT_BYTES_MAX
from schedulers.torque import Torque
from tests.fakes.spawning import Spawning

DATA = Path(__file__).parents[2] / "data"
TAG = "floe-desy-k3x9w2q1"
KINDS: dict[str, Callable[..., Scheduler]] = {
    "slurm": Slurm, "htcondor": HTCondor, "sge": Sge, "pbs": Pbs, "torque": Torque,
}  # fmt: skip
JOBS = {
    "slurm": "7_1", "htcondor": "7.1", "sge": "7.1", "pbs": "7[1].server", "torque": "7[1].server",
}  # fmt: skip
VALUES = [
    "'", '"', "it's", "a\nb", "a\n#SBATCH --x", "a\rb", "a\0b", "$(touch hit)", "`touch hit`",
    "; touch hit", "&& touch hit", "| touch hit", "> hit", "$HOME", "${PATH}", "$(ENV)", "$$(x)",
    "%j", "%%", "\\", "a\\", "*", "~", "-x", "--wrap=x", "@/etc/passwd", "a b", " a", "a,b", "a=b",
    "a:b", "(a", "#", "ünï—😀", "\udcff", "a\u2028b", "a\u202eb", "\x1b[1m", "x" * 100_000,
    "'" * 4000,
]  # fmt: skip
FIELDS = ("word", "log", "folder", "file", "queue", "account", "option", "line", "extra", "name",
          "python", "command")  # fmt: skip


def submission(
    kind: str, field: str, value: str, *, python: str = "", folder: str = "/data"
) -> Command:
    """A submission with this value in one place. Raises SchedulerError or ValueError."""
    more: dict[str, Any] = {"python": value if field == "python" else python}
    if field == "command":
        more["commands"] = {
            {"slurm": "sbatch", "htcondor": "condor_submit"}.get(kind, "qsub"): value
        }
    given: dict[str, Any] = {
        "log": {"log": f"/data/{value}"}, "folder": {"folder": f"/data/{value}"},
        "file": {"files": ["pilot.pyz", f"/data/{value}"]}, "queue": {"queue": value},
        "account": {"account": value}, "option": {"options": [value]}, "line": {"lines": [value]},
        "extra": {"extra": {"os": value}}, "name": {"extra": {value: "sl7"}},
    }.get(field, {})  # fmt: skip
    words = ["pilot.pyz", *([value] if field == "word" else [])]
    spec = PilotSpec(TAG, words, **{"log": "/data/log", "folder": folder, "count": 2, **given})
    return KINDS[kind](**more).submit(spec)


def offered(kind: str, field: str, value: str, **more: str) -> Command | None:
    """The submission, or None where it is refused in decent words."""
    try:
        return submission(kind, field, value, **more)
    except (SchedulerError, ValueError) as error:
        said = str(error)
        assert said.isprintable()
        assert 3 <= len(said) < 500
        return None


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_value_adds_a_word_or_a_line_to_a_submission(kind: str, field: str) -> None:
    plain = offered(kind, field, "plain")
    for value in VALUES:
        command = offered(kind, field, value)
        if command is None or plain is None or field in ("command", "line"):
            continue  # an admin's own words of a command, and lines, are meant to be several
        assert len(command.argv) == len(plain.argv), value
        assert sum(a != b for a, b in zip(command.argv, plain.argv, strict=True)) <= 1, value
        assert command.stdin.count(b"\n") == plain.stdin.count(b"\n"), value
        assert all(len(word) <= 8192 and "\0" not in word for word in command.argv), value


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_line_of_text_is_refused_everywhere(kind: str, field: str) -> None:
    for value in ("a\nb", "a\rb", "a\0b", "\x1b[1m", "\udcff", "a\u2028b", "x" * 100_000):
        unused = offered(kind, field, "plain") == offered(kind, field, "other")
        assert unused or offered(kind, field, value) is None, value


@given(st.text(), st.sampled_from(FIELDS))
def test_any_text_is_taken_as_it_is_or_refused(value: str, field: str) -> None:
    for kind in KINDS:
        offered(kind, field, value)


@pytest.mark.parametrize("field", ["word", "folder", "python"])
@pytest.mark.parametrize("kind", ["slurm", "sge", "pbs", "torque"])
def test_a_real_shell_reads_each_value_of_the_job_script_as_one_word(
    kind: str, field: str, tmp_path: Path
) -> None:
    """Python is a program that shows what it is given."""
    shows = tmp_path / "python"
    shows.write_text('#!/bin/sh\n[ "$1" = -c ] || printf "%s\\0" "$@"\n')
    shows.chmod(0o755)
    for value in VALUES:
        command = offered(kind, field, value, python=str(shows), folder=str(tmp_path))
        if command is None:
            continue
        script = command.stdin.replace(b"/usr/bin/python3", os.fsencode(shows))
        done = subprocess.run(
            ["/bin/sh"], input=script, cwd=tmp_path, capture_output=True, check=False,
            env={"PATH": "/nowhere", "HOME": "/nowhere"},
        )  # fmt: skip
        assert os.listdir(tmp_path) == ["python"], value
        if field == "word":
            assert done.stdout.split(b"\0")[:-1] == [b"pilot.pyz", os.fsencode(value)]
        if field == "python":
            assert done.stdout == b"pilot.pyz\0", value


# What commands print.


def samples(kind: str) -> list[bytes]:
    """What real ones printed; of Torque and OpenPBS both, as one plugin is made of the other."""
    folders = {"pbs": ["openpbs", "torque"], "torque": ["torque", "openpbs"]}.get(kind, [kind])
    return [path.read_bytes() for each in folders for path in sorted((DATA / each).iterdir())]


def readers(kind: str) -> Iterator[tuple[str, Callable[[Completed], object]]]:
    """Everything that reads what a command printed."""
    plugin, job = KINDS[kind](), JobName(JOBS[kind])
    spec = PilotSpec(TAG, [], "", count=3)
    yield "version_of", plugin.version_of
    yield "submitted", lambda done: plugin.submitted(done, spec)
    yield "listed", plugin.listed
    for number in range(len(plugin.lookup([job], [TAG]))):
        yield f"looked_up {number}", lambda done, at=number: plugin.looked_up(at, done, [job])  # type: ignore[misc]
    yield "cancelled", plugin.cancelled
    yield "described", plugin.described
    yield "limits_of", plugin.limits_of


def read(reader: Callable[[Completed], object], done: Completed) -> object:
    """What a reader makes of it, or the words in which it refuses."""
    try:
        return reader(done)
    except SchedulerError as error:
        said = str(error)
        assert said.isprintable(), said
        assert 3 <= len(said) < 600, said
        return SchedulerError


@pytest.mark.parametrize("kind", KINDS)
def test_colours_and_greetings_around_the_data_change_nothing(kind: str) -> None:
    told = 0
    for name, reader in readers(kind):
        for sample in samples(kind):
            plain = read(reader, Completed(0, sample, b""))
            if plain in (SchedulerError, {}, [], "", None):
                continue
            told += 1
            greeted = b"\x1b]0;login\x07\x1b[1;31mWelcome\x1b[0m to {desy}\r\n* news *\r\n" + sample
            for changed in (greeted, sample.replace(b"\n", b"\x1b[0m\n"), _crlf(sample)):
                found = read(reader, Completed(0, changed, b"warning: \x1b[1mold\n"))
                assert found in (plain, SchedulerError), name
    assert told


def _crlf(sample: bytes) -> bytes:
    return sample.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_answer_is_never_taken_for_a_whole_one(kind: str) -> None:
    """Cut at our own bound: whatever it looks like. The end of a job is not made up from it."""
    for name, reader in readers(kind):
        if name == "cancelled":
            continue  # it succeeded, whatever it says
        for sample in samples(kind):
            assert read(reader, Completed(0, sample, b"", cut=True)) is SchedulerError, name


@pytest.mark.parametrize("kind", KINDS)
def test_junk_of_any_form_is_refused_or_says_nothing(kind: str) -> None:
    size = 1 << 17
    junk = [
        b"x" * size, b"\n" * size, b"\0" * size, b"[" * size, b'{"a":' * (size // 5),
        b"<?xml version='1.0'?>" + b"<a>" * (size // 3), b"Job Id: 7\n" * (size // 10),
        b"=" * size, b"|" * size, b"floe|" * (size // 5), b"\x1b" * size, b"\x1b]" * (size // 2),
        b" = \t" * (size // 4), bytes(range(256)) * (size // 256), b"1" * size, b"7.1-3:1 " * 1000,
        b"qname\n" * (size // 6), b"\xff" * size, os.urandom(size),
    ]  # fmt: skip
    for name, reader in readers(kind):
        for data in junk:
            for done in (
                Completed(0, data, b""), Completed(153, data, b""), Completed(0, b"", data),
                Completed(1, b"", data),
            ):  # fmt: skip
                found = read(reader, done)
                nothing = found in (SchedulerError, {}, [], "", None)
                closed = isinstance(found, list) and not any(queue.open for queue in found)
                assert nothing or closed, (name, data[:40])


@pytest.fixture(scope="module")
def flood() -> Completed:
    """What is left of a hundred megabytes that a command printed."""
    loop = Spawning()
    done = loop.result(
        LocalRunner(loop.reactor).run(Command(["sh", "-c", "yes | head -c 100000000"]))
    )
    loop.close()
    assert isinstance(done, Completed)
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_megabytes_are_not_kept_and_not_read(kind: str, flood: Completed) -> None:
    assert len(flood.out) <= OUTPUT_BYTES_MAX
    for name, reader in readers(kind):
        assert read(reader, flood) is SchedulerError, name

"""What batch systems print is read whole or not at all; words that we write stay words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers import texts
from schedulers.base import Completed, SchedulerError
from schedulers.script import job_script

HOSTILE = [
    "'",
    '"',
    "$(id)",
    "`id`",
    ";id",
    "a b",
    "%j%%",
    "\\",
    "*",
    "ü—😀",
    "x" * 4000,
    "&&",
    "#",
]


def test_colours_titles_and_carriage_returns_are_not_text() -> None:
    assert (
        texts.plain(b"\x1b[1;31mred\x1b[0m\r\n\x1b]0;title\x07plain\xff\n") == "red\nplain\ufffd\n"
    )


@given(st.text())
def test_harmless_words_are_one_short_printable_line(words: str) -> None:
    line = texts.harmless(words, 40)
    assert line.isprintable()
    assert len(line) <= 40


def test_harmless_words_cannot_turn_the_reading_direction() -> None:
    assert texts.harmless("a\u202eb\u200bc\nd\x00e") == "a b c d e"


@pytest.mark.parametrize(
    ("out", "err", "status", "says"),
    [
        (b"", b"warning: x\nerror: no such queue\n", 1, "warning: x · error: no such queue"),
        (b"refused\n", b"\n", 1, "refused"),
        (b"", b"", 9, "exit status 9"),
        (b"", b"", -15, "killed by signal 15"),
    ],
)
def test_a_complaint_quotes_the_command(out: bytes, err: bytes, status: int, says: str) -> None:
    assert texts.complaint(Completed(status, out, err)) == says


@pytest.mark.parametrize(
    "done",
    [
        Completed(1, b"fine\n", b"not allowed\n"),
        Completed(0, b"fine\n", b"", cut=True),
        Completed(0, b"fine\nfin", b""),
        Completed(0, b"\n" * (texts.OUTPUT_BYTES_MAX + 1), b""),
    ],
)
def test_failed_and_cut_outputs_are_refused_whole(done: Completed) -> None:
    with pytest.raises(SchedulerError, match="squeue"):
        texts.whole(done, "squeue")


def test_rows_are_told_from_warnings_by_their_mark() -> None:
    text = "Welcome!\nfloe|1|R\n floe|2|R\nwarning floe|3|R\nfloe|4|R\n"
    assert list(texts.rows(text, "floe|")) == ["1|R", "4|R"]


def test_json_is_found_after_warnings_and_refused_when_broken() -> None:
    assert texts.json_of('warning: old [x]\n{"a": [1]}\n', "qstat") == {"a": [1]}
    for broken in ("", "nothing", '{"a": ', '{"a": 1}\ntrailing', "[" * 100_000):
        with pytest.raises(SchedulerError, match="qstat"):
            texts.json_of(broken, "qstat")


def test_only_a_whole_tag_is_a_tag() -> None:
    assert texts.tag_of("floe-desy-k3x9w2q1") == "floe-desy-k3x9w2q1"
    for name in ("floe-desy-k3x9w2q1\n", "xfloe-desy-k3x9w2q1", "floe-desy", "floe-DESY-k3x9w2q1"):
        assert texts.tag_of(name) == ""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4000M", 4000 << 20), ("1.5gb", 3 << 29), ("16GiB", 16 << 30), ("100", 100), ("0", 0),
        ("UNLIMITED", None), ("12kb", 12 << 10), ("1T", 1 << 40),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    assert texts.size_bytes(text) == size


def test_sizes_of_grid_engine_and_without_a_unit() -> None:
    assert texts.size_bytes("2k", lower=1000) == 2000
    assert texts.size_bytes("2K", lower=1000) == 2048
    assert texts.size_bytes("50", unit="M") == 50 << 20


@pytest.mark.parametrize("text", ["2 gigs", "-1", "1e9", "M", "1.2.3", "0x10", "9" * 40, "1\n2"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        texts.size_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7-00:00:00", 604_800), ("10:00", 600), ("1:00:00", 3600), ("90", 90),
        ("100:00:01", 360_001), ("UNLIMITED", None), ("infinite", None), ("00:00:10.500", 10),
    ],
)  # fmt: skip
def test_times(text: str, seconds: int | None) -> None:
    assert texts.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["soon", "1:2:3:4", "-5", "1-", ":", "1d"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        texts.seconds_of(text)


@given(st.integers(0, 10**8))
def test_a_clock_is_read_back(seconds: int) -> None:
    assert texts.seconds_of(texts.clock(seconds)) == seconds


@given(st.integers(1, 10**15), st.sampled_from([1 << 10, 1 << 20, 1 << 30]))
def test_units_never_hold_less(size: int, unit: int) -> None:
    assert 0 <= texts.in_units(size, unit) * unit - size < unit


@given(st.frozensets(st.integers(0, 60), min_size=1))
def test_ranges_of_tasks_are_read_back(tasks: frozenset[int]) -> None:
    inside = texts.in_tasks(texts.tasks_text(tasks) + "%3")
    assert {task for task in range(62) if inside(task)} == tasks


def test_ranges_with_steps_and_without_sense() -> None:
    assert [task for task in range(9) if texts.in_tasks("1-7:3")(task)] == [1, 4, 7]
    for text in ("", "a", "1-", "1-5:0", "0-999999999", "1,,2"):
        with pytest.raises(ValueError, match="task"):
            texts.in_tasks(text)


@pytest.mark.parametrize("value", ["", "a\nb", "a\0b", "\x1b[1m", "a\u2028b", "x" * 5000])
def test_words_that_no_system_takes_are_refused(value: str) -> None:
    with pytest.raises(SchedulerError, match="the queue"):
        texts.word(value, "the queue")


def test_commands_are_renamed_by_words_and_only_known_ones() -> None:
    commands = texts.Commands(("sbatch", "squeue"), {"sbatch": "sudo -n 'my sbatch'"})
    assert commands.argv("sbatch", "-x") == ["sudo", "-n", "my sbatch", "-x"]
    assert commands.argv("squeue") == ["squeue"]
    for given_ in ({"qsub": "x"}, {"sbatch": ""}, {"sbatch": "a\nb"}, {"sbatch": "'open"}):
        with pytest.raises(ValueError, match=r"qsub|sbatch|quotation"):
            texts.Commands(("sbatch", "squeue"), given_)


# The job script, run by a real shell.


def run_script(folder: Path, script: bytes, path: str = "/usr/bin:/bin") -> tuple[int, str, str]:
    done = subprocess.run(
        ["/bin/sh"], input=script, env={"PATH": path}, cwd=folder, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("value", HOSTILE)
def test_words_reach_the_pilot_as_they_are(tmp_path: Path, value: str) -> None:
    (tmp_path / "pilot.py").write_text("import sys\nprint(ascii(sys.argv[1]), end='')\n")
    script = job_script(["pilot.py", value], lines=["#DIRECTIVE -x"])
    assert script.splitlines()[:2] == [b"#!/bin/sh", b"#DIRECTIVE -x"]
    assert run_script(tmp_path, script) == (0, ascii(value), "")


def test_the_script_becomes_the_pilot_and_passes_its_status_on(tmp_path: Path) -> None:
    (tmp_path / "pilot.py").write_text("import os, sys\nsys.exit(7 if os.getppid() else 8)\n")
    assert run_script(tmp_path, job_script(["pilot.py"]))[0] == 7


def test_a_python_that_is_missing_or_too_old_is_passed_over(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (tmp_path / "pilot.py").write_text("print('ran')\n")
    for python in (str(old), "/no/such/python"):
        script = job_script(["pilot.py"], python=python)
        assert run_script(tmp_path, script) == (0, "ran\n", "")


def test_a_worker_without_python_says_so(tmp_path: Path) -> None:
    script = job_script(["pilot.py"]).replace(b"/usr/bin/python3", b"/usr/bin/no-python")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "uname").symlink_to("/usr/bin/uname")
    status, out, err = run_script(tmp_path, script, str(bin_))
    assert (status, out) == (127, "")
    assert err.startswith("no Python 3.6 or newer on ")

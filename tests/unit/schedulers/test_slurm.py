"""Slurm's commands as they are written, and what a real cluster printed, read back.

The samples in tests/data/slurm are of Slurm 22.05.8.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedulers.base import (
    AVOID_MAX,
    Completed,
    JobName,
    JobState,
    PilotSpec,
    Report,
    SchedulerError,
)
from schedulers.slurm import Slurm
from schedulers.slurmwords import STATES

DATA = Path(__file__).parents[2] / "data/slurm"
TAG = "floe-desy-k3x9w2q1"
SPEC = PilotSpec(TAG, ["pilot.pyz", "settings.json"], "/data/log")


def printed(name: str, status: int = 0) -> Completed:
    text = (DATA / f"{name}.txt").read_bytes()
    return Completed(status, text, b"") if status == 0 else Completed(status, b"", text)


def out(text: str, status: int = 0) -> Completed:
    return Completed(status, text.encode(), b"")


def submit_words(**more: Any) -> list[str]:
    spec = PilotSpec(TAG, SPEC.argv, **{"log": SPEC.log, **more})
    return list(Slurm().submit(spec).argv)


# Submit.


def test_all_that_is_asked_for_is_on_the_command_line() -> None:
    words = submit_words(
        folder="/data", cpu=4, gpu=2, memory_bytes=(2 << 30) + 1, time_s=90_061, count=3,
        queue="main", account="ice", extra={"constraint": "avx2"}, options=["--qos=low"],
    )  # fmt: skip
    assert words == [
        "sbatch", "--parsable", f"--job-name={TAG}", "--no-requeue", "--export=NONE", "--nodes=1",
        "--ntasks=1", "--cpus-per-task=4", "--output=/data/log.%a", "--array=0-2", "--chdir=/data",
        "--mem=2049M", "--gres=gpu:2", "--time=1-01:01:01", "--partition=main", "--account=ice",
        "--constraint=avx2", "--qos=low",
    ]  # fmt: skip


def test_what_is_not_asked_for_is_left_to_the_cluster() -> None:
    words = submit_words()
    assert words[-1] == "--output=/data/log.0"
    assert not [word for word in words if word.startswith(("--mem", "--time", "--gres", "--array"))]


def test_the_script_comes_by_stdin_with_the_lines_of_the_admin_first() -> None:
    spec = PilotSpec(TAG, SPEC.argv, "/l", lines=["#SBATCH --comment=x", "module load python"])
    script = Slurm(python="/opt/py").submit(spec).stdin.decode().splitlines()
    assert script[:3] == ["#!/bin/sh", "#SBATCH --comment=x", "module load python"]
    assert "unset SLURM_EXPORT_ENV" in script
    assert any("/opt/py python3" in line for line in script)


def test_commands_may_have_other_names() -> None:
    slurm = Slurm(commands={"sbatch": "sudo -n sbatch", "squeue": "squeue --clusters=x"})
    assert list(slurm.submit(SPEC).argv[:3]) == ["sudo", "-n", "sbatch"]
    assert list(slurm.listing().argv[:2]) == ["squeue", "--clusters=x"]
    with pytest.raises(ValueError, match="qsub"):
        Slurm(commands={"qsub": "qsub"})


@pytest.mark.parametrize("field", ["folder", "queue", "account", "log"])
@pytest.mark.parametrize("value", ["a\nb", "a\0", "x" * 100_000, "\x1b[1m"])
def test_values_that_are_no_words_are_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(SchedulerError, match=field):
        submit_words(**{field: value})


@pytest.mark.parametrize("value", ["'", '"', "$(id)", ";id", "a b", "-x", "ü😀", "a=b", "`id`"])
def test_values_stay_one_word_of_the_command_line(value: str) -> None:
    assert f"--account={value}" in submit_words(account=value)
    assert f"--output=/d/{value}.0" in submit_words(log=f"/d/{value}")


def test_a_log_with_signs_that_sbatch_replaces_is_meant_as_it_is() -> None:
    assert "--output=/d/%%j.0" in submit_words(log="/d/%j")
    with pytest.raises(SchedulerError, match="backslash"):
        submit_words(log="/d/a\\b")


@pytest.mark.parametrize("option", ["", "-p", "Mem", "a b", "mem=5 --x"])
def test_extra_resources_are_long_options(option: str) -> None:
    with pytest.raises(SchedulerError, match="extra"):
        submit_words(extra={option: "1"})


@pytest.mark.parametrize("text", ["17\n", "17;alpha\n", "sbatch: hello\n17\n\n"])
def test_a_submission_names_its_jobs(text: str) -> None:
    assert Slurm().submitted(out(text), SPEC) == ["17"]
    three = PilotSpec(TAG, SPEC.argv, "/l", count=3)
    assert Slurm().submitted(out(text), three) == ["17_0", "17_1", "17_2"]


@pytest.mark.parametrize("text", ["", "Submitted\n", "17\n18\n", "17", "1e3\n"])
def test_a_submission_that_names_no_job_is_an_error(text: str) -> None:
    with pytest.raises(SchedulerError):
        Slurm().submitted(out(text), SPEC)


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ("sbatch-impossible", "Requested node configuration is not available"),
        ("sbatch-partition", "invalid partition specified: nope"),
        ("sbatch-option", "unrecognized option '--nope'"),
    ],
)
def test_a_refusal_is_quoted(sample: str, says: str) -> None:
    with pytest.raises(SchedulerError, match=says):
        Slurm().submitted(printed(sample, 1), SPEC)


def test_each_pilot_has_its_log() -> None:
    assert Slurm().log_file("/data/log", JobName("17_4")) == "/data/log.4"
    assert Slurm().log_file("/data/log", JobName("17")) == "/data/log.0"


# List.


def test_the_listing_holds_what_lives_and_is_ours() -> None:
    jobs = Slurm().listed(printed("squeue"))
    states = {job: report.state for job, report in jobs.items()}
    assert states == {
        "11_0": JobState.RUNNING, "11_1": JobState.RUNNING, "11_2": JobState.QUEUED,
        "11_3": JobState.QUEUED, "12": JobState.HELD, "13": JobState.HELD,
    }  # fmt: skip
    assert jobs[JobName("11_0")] == Report(JobState.RUNNING, host="beta1", tag="floe-desy-longlong")
    assert jobs[JobName("13")].words == (
        "asks for more time than the partition allows (PartitionTimeLimit)"
    )


def test_an_empty_listing_of_a_cluster_that_works_is_empty() -> None:
    assert Slurm().listed(out("")) == {}


@pytest.mark.parametrize(
    "done",
    [
        Completed(1, b"", b"slurm_load_jobs error: Unable to contact slurm controller\n"),
        Completed(0, b"floe|1|RUNNING|n1|None|floe-desy-k3x9w2q1\n", b"", cut=True),
        out(f"floe|1|RUNNING|n1|None|{TAG}\nfloe|2|RUNN"),
        out(f"floe|1|RUNNING|n1|None|{TAG}\nfloe|1|PENDING||None|{TAG}\n"),
        out(f"floe|1_[2-4]|PENDING||None|{TAG}\n"),
        out(f"floe|1|laufend|n1|None|{TAG}\n"),
        out(f"floe||RUNNING|n1|None|{TAG}\n"),
    ],
)
def test_a_listing_that_fails_or_makes_no_sense_tells_nothing(done: Completed) -> None:
    with pytest.raises(SchedulerError):
        Slurm().listed(done)


def test_warnings_colours_and_foreign_jobs_do_not_hide_ours() -> None:
    text = (
        "Welcome to login2!\n"
        "squeue: warning: floe|9|RUNNING|n|None|x\n"
        f"\x1b[32mfloe|1|RUNNING|n1|None|{TAG}\x1b[0m\r\n"
        f"floe|2|PENDING||None|$(reboot)|{TAG}\n"
        "floe|3+0|PENDING||Priority|het job\n"
        "floe|4|RUNNING|n1|None|\n"
        "floe|5|QUITE_NEW|n1|None|" + TAG + "\n"
    )
    jobs = Slurm().listed(out(text))
    assert {job: report.state for job, report in jobs.items()} == {
        "1": JobState.RUNNING,
        "5": JobState.UNKNOWN,
    }


def test_nobody_writes_a_row_without_knowing_the_mark() -> None:
    slurm = Slurm(mark="q7w3")
    text = f"q7w3|1|RUNNING|n1|None|x\nfloe|2|RUNNING|n1|None|{TAG}\n"
    assert "q7w3|%i" in " ".join(slurm.listing().argv)
    assert slurm.listed(out(text)) == {}


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("Priority", JobState.QUEUED),
        ("JobHeldAdmin", JobState.HELD),
        ("launch failed requeued held", JobState.HELD),
        ("BadConstraints", JobState.HELD),
        ("QOSMaxWallDurationPerJobLimit", JobState.HELD),
        ("QOSMaxJobsPerUserLimit", JobState.QUEUED),
        ("(ReqNodeNotAvail, UnavailableNodes:n1)", JobState.QUEUED),
        ("PartitionNodeLimit: nodes are DOWN", JobState.QUEUED),
    ],
)
def test_a_job_that_will_not_start_by_itself_is_held(reason: str, state: JobState) -> None:
    jobs = Slurm().listed(out(f"floe|1|PENDING||{reason}|{TAG}\n"))
    assert jobs[JobName("1")].state is state
    assert reason in jobs[JobName("1")].words


def test_every_state_is_in_capitals_and_ended_ones_are_told_apart() -> None:
    assert all(name.isupper() for name in STATES)
    over = {name: state for name, state in STATES.items() if state.over}
    assert set(over.values()) == {
        JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT,
        JobState.PREEMPTED, JobState.NODE_FAILED,
    }  # fmt: skip


@pytest.mark.parametrize("junk", [b"\x00\xff|floe|" * 1_500_000, b"floe|||||\n" * 1_500_000])
def test_junk_is_read_as_nothing_or_refused_soon(junk: bytes) -> None:
    begin = time.process_time()
    for read in (Slurm().listed, Slurm().limits_of, Slurm().version_of, Slurm().described):
        with contextlib.suppress(SchedulerError):
            assert not read(Completed(0, junk, b""))
    assert time.process_time() - begin < 10


# Look up.


def looked_up(number: int, done: Completed, *jobs: str) -> dict[JobName, Report]:
    return Slurm().looked_up(number, done, [JobName(job) for job in jobs])


def test_the_accounting_tells_how_jobs_ended() -> None:
    jobs = looked_up(0, printed("sacct"), "1_0", "2", "3", "4_0", "12", "11_0", "99")
    assert {job: (report.state, report.exit) for job, report in jobs.items()} == {
        "1_0": (JobState.DONE, 0),
        "2": (JobState.FAILED, 3),
        "3": (JobState.FAILED, -9),
        "4_0": (JobState.CANCELLED, None),
    }
    assert jobs[JobName("4_0")].words == "CANCELLED by 0"
    assert jobs[JobName("2")].tag == "floe-desy-failed33"


def test_the_controller_remembers_the_dead_and_knows_the_living() -> None:
    jobs = looked_up(1, printed("squeue-lookup"), "1_0", "2", "3", "4_0", "12", "11_0", "99")
    assert {job: (report.state, report.exit) for job, report in jobs.items()} == {
        "1_0": (JobState.DONE, 0),
        "2": (JobState.FAILED, 3),
        "3": (JobState.FAILED, -9),
        "4_0": (JobState.CANCELLED, -15),
        "12": (JobState.HELD, None),
        "11_0": (JobState.RUNNING, None),
    }
    assert jobs[JobName("2")].words == "ended with an error (NonZeroExitCode)"


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("TIMEOUT", "0:0", Report(JobState.TIMED_OUT, "TIMEOUT", None, "n1", TAG)),
        ("OUT_OF_MEMORY", "0:125", Report(JobState.FAILED, "OUT_OF_MEMORY", -125, "n1", TAG)),
        ("NODE_FAIL", "1:0", Report(JobState.NODE_FAILED, "NODE_FAIL", 1, "n1", TAG)),
        ("PREEMPTED", "0:15", Report(JobState.PREEMPTED, "PREEMPTED", -15, "n1", TAG)),
    ],
)
def test_other_ends_are_told_apart(state: str, code: str, expected: Report) -> None:
    done = out(f"7|{state}|{code}|n1|{TAG}\n")
    assert looked_up(0, done, "7") == {"7": expected}


def test_tasks_that_were_cancelled_before_they_started_share_one_row() -> None:
    rows = f"7_0|COMPLETED|0:0|n1|{TAG}\n7|CANCELLED by 0|0:0|None assigned|{TAG}\n"
    jobs = looked_up(0, out(rows), "7_0", "7_1", "7_2", "8_0")
    assert {job: report.state for job, report in jobs.items()} == {
        "7_0": JobState.DONE, "7_1": JobState.CANCELLED, "7_2": JobState.CANCELLED,
    }  # fmt: skip
    started = f"7_0|RUNNING|0:0|n1|{TAG}\n7|CANCELLED by 0|0:0|None assigned|{TAG}\n"
    assert set(looked_up(0, out(started), "7_0", "7_1")) == {"7_1"}
    alive = f"7 |floe|PENDING |0 | |None |{TAG} |\n"
    assert looked_up(1, out(alive), "7_1") == {}


def test_a_number_that_came_again_is_another_job() -> None:
    assert looked_up(0, out("7|COMPLETED|0:0|n1|somebody else's\n"), "7") == {}


def test_missing_accounting_leaves_all_to_the_controller_and_is_no_error() -> None:
    disabled = Completed(1, b"", b"Slurm accounting storage is disabled\n")
    assert looked_up(0, disabled, "7") == {}
    away = Completed(1, b"", b"sacct: error: Problem talking to the database: Connection refused\n")
    with pytest.raises(SchedulerError, match="Connection refused"):
        looked_up(0, away, "7")


# The header of squeue, which it prints before anything else once the controller has answered.
HEADER = "JOBID |floe|STATE |EXIT_CODE |NODELIST |REASON |NAME |\n"


def denied(done: Completed, *jobs: str) -> set[JobName]:
    found = looked_up(1, done, *jobs)
    assert not any(each.state.over for each in found.values() if each.denied)
    return {job for job, each in found.items() if each.denied}


def test_a_job_that_the_controller_does_not_know_is_denied_and_not_over() -> None:
    assert denied(printed("squeue-missing", 1), "7_0", "7_1") == {"7_0", "7_1"}
    assert denied(out(HEADER), "7", "8_1") == {"7", "8_1"}
    alive = f"8_0 |floe|RUNNING |0 |n1 |None |{TAG} |\n"
    assert denied(out(f"warning\n{HEADER}{alive}"), "7", "8_0", "8_1") == {"7", "8_1"}
    rest = f"9 |floe|PENDING |0 | |None |{TAG} |\n"
    assert denied(out(HEADER + rest), "9_1") == set()


def test_silence_denies_nothing() -> None:
    assert looked_up(0, out(""), "7") == {}  # sacct, which may be behind
    foreign = f"8 |other|STATE |0 |n1 |None |NAME |\n8 |floe|RUNNING |0 |n1 |None |{TAG} |\n"
    for text in ("", "Welcome!\n", foreign):
        assert denied(out(text), "7") == set()
    for done in (
        Completed(1, b"", b"error: Unable to contact slurm controller\n"),
        Completed(127, b"", b"sh: 1: squeue: not found\n"),
        Completed(1, b"", b"Invalid job id specified\nsqueue: error: something else\n"),
        Completed(0, HEADER.encode(), b"", cut=True),
    ):
        with pytest.raises(SchedulerError):
            looked_up(1, done, "7")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("code", ["", "x", "1:2:3", "-1"])
def test_an_end_that_makes_no_sense_is_refused(number: int, code: str) -> None:
    rows = [f"7|FAILED|{code}|n1|{TAG}\n", f"7 |floe|FAILED |{code}|n1 |None |{TAG} |\n"]
    with pytest.raises(SchedulerError, match="exit code"):
        looked_up(number, out(rows[number]), "7")


def test_jobs_are_looked_up_in_one_command_each_way() -> None:
    sacct, squeue = Slurm().lookup([JobName(job) for job in ("7_1", "8", "7_2")], [TAG])
    assert "--jobs=7,8" in sacct.argv
    assert "--jobs=7,8" in squeue.argv
    assert "--noheader" in sacct.argv
    assert "--noheader" not in squeue.argv
    sacct, squeue = Slurm().lookup([], [TAG])
    assert f"--name={TAG}" in sacct.argv
    assert f"--name={TAG}" in squeue.argv
    assert "--me" in squeue.argv


# Cancel, describe, limits, version.


def test_tasks_are_cancelled_by_ranges() -> None:
    jobs = [JobName(job) for job in ("7_1", "9", "7_0", "7_5", "8_2")]
    assert Slurm().cancel(jobs).argv == ["scancel", "9", "7_[0-1,5]", "8_[2]"]


def test_jobs_that_are_gone_are_cancelled_without_complaint() -> None:
    Slurm().cancelled(out(""))
    gone = b"scancel: error: Kill job error on job id 7: Invalid job id specified\n"
    Slurm().cancelled(Completed(1, b"", gone))
    for err in (gone + b"scancel: error: Access denied\n", b"", b"sh: scancel: not found\n"):
        with pytest.raises(SchedulerError):
            Slurm().cancelled(Completed(1, b"", err))


def test_a_held_job_is_explained() -> None:
    done = out(f"floe|12|PENDING||JobHeldUser|{TAG}\n")
    assert Slurm().described(done) == "held by this account: scontrol release (JobHeldUser)"
    assert Slurm().described(printed("squeue-missing", 1)) == ""  # it has gone meanwhile
    with pytest.raises(SchedulerError, match="contact"):
        Slurm().described(Completed(1, b"", b"error: Unable to contact slurm controller\n"))


def test_partitions_tell_their_limits() -> None:
    main, short = Slurm().limits_of(printed("sinfo"))
    assert (main.name, main.default, main.open, main.time_s_max) == ("main", True, True, 604_800)
    assert (main.cpu_max, main.memory_bytes_max, main.gpu_max) == (4, 4000 << 20, 2)
    assert (short.name, short.default, short.time_s_max) == ("short", False, 600)


def test_a_partition_is_as_large_as_its_largest_node() -> None:
    text = (
        "floe|big|up|infinite|16|64000|idle|(null)\n"
        "floe|big|up|infinite|8|128000|down*|gpu:a100:2(S:0),gpu:v100:1,mps:100\n"
        "floe|old|inact|1:00|4+|4000+|drained|gpu\n"
    )
    big, old = Slurm().limits_of(out(text))
    assert (big.time_s_max, big.cpu_max, big.memory_bytes_max) == (None, 16, 128_000 << 20)
    assert (big.gpu_max, big.open, big.words) == (3, True, "")
    assert (old.gpu_max, old.open, old.words) == (1, False, "the partition is inact")


def test_a_partition_whose_nodes_do_not_respond_says_so() -> None:
    (main,) = Slurm().limits_of(out("floe|main*|up|infinite|4|4000|idle*|(null)\n"))
    assert (main.open, main.words) == (True, "no node is up: idle*")


@pytest.mark.parametrize("row", ["floe|a|up|1:00|x|1|idle|", "floe|a|up|soon|1|1|idle|", "floe|a"])
def test_limits_that_make_no_sense_are_refused(row: str) -> None:
    with pytest.raises(SchedulerError, match="sinfo"):
        Slurm().limits_of(out(row + "\n"))


def test_the_version_is_the_controllers() -> None:
    assert Slurm().version_of(printed("scontrol-config")) == "Slurm 22.05.8, cluster beta"
    with pytest.raises(SchedulerError, match="no version"):
        Slurm().version_of(out("hello\n"))


def test_hosts_that_are_of_no_use_are_left_out_and_nothing_else_becomes_an_option() -> None:
    hosts = ["c1", "c2.example.org", "c[3-4]", "--exclusive", "a,b", "x" * 300]
    argv = Slurm().submit(replace(SPEC, avoid=hosts)).argv
    assert [word for word in argv if "excl" in word] == ["--exclude=c1,c2.example.org"]
    assert not [word for word in Slurm().submit(SPEC).argv if "excl" in word]
    many = [f"c{number}" for number in range(AVOID_MAX + 1)]
    (word,) = [w for w in Slurm().submit(replace(SPEC, avoid=many)).argv if "excl" in w]
    assert word.count(",") == AVOID_MAX - 1

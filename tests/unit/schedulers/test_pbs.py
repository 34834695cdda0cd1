"""OpenPBS's and Torque's commands as they are written, and what they print, read back.

The samples in tests/data/openpbs are of OpenPBS 23.06.06 and of its master branch, those in
tests/data/torque of Slurm's commands in Torque's style.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from schedulers.base import (
    Completed,
    JobName,
    JobState,
    OtherForm,
    PilotSpec,
    SchedulerError,
)
from schedulers.pbs import Pbs
from schedulers.pbswords import TORQUE_EXITS, report
from schedulers.torque import Torque

DATA = Path(__file__).parents[2] / "data"
TAG = "floe-desy-k3x9w2q1"
SPEC = PilotSpec(TAG, ["pilot.pyz", "settings.json"], "/data/log")
FLAVOURS = ("release", "master")
NO_JOBS = '{\n    "timestamp":1,\n    "pbs_server":"h"\n}'


def printed(name: str) -> Completed:
    return Completed(0, (DATA / name).read_bytes(), b"")


def out(text: str, status: int = 0, err: str = "") -> Completed:
    return Completed(status, text.encode(), err.encode())


def words_of(pbs: Pbs, **more: Any) -> list[str]:
    return list(pbs.submit(PilotSpec(TAG, SPEC.argv, **{"log": SPEC.log, **more})).argv)


def states(case: str, flavour: str) -> dict[str, tuple[str, int | None]]:
    """All jobs of a sample, those that are over as well."""
    done = printed(f"openpbs/{case}.{flavour}.json")
    found = Pbs().looked_up(0, done, [])
    return {job.partition(".")[0]: (each.state.value, each.exit) for job, each in found.items()}


def listed(text: str) -> dict[str, str]:
    return {job: each.state.value for job, each in Pbs().listed(out(text)).items()}


def text_of(**attributes: str) -> str:
    """One job as qstat -f prints it."""
    shown = {"Job_Name": TAG, "job_state": "R", **attributes}
    return "Job Id: 7.h\n" + "".join(f"    {k} = {v}\n" for k, v in shown.items()) + "\n"


def json_of(**attributes: str) -> str:
    """One job as qstat -f -F json prints it, values as they are."""
    shown = {"Job_Name": f'"{TAG}"', "job_state": '"R"', **attributes}
    rows = ",\n".join(f'            "{key}":{value}' for key, value in shown.items())
    jobs = f'    "Jobs":{{\n        "7.h":{{\n{rows}\n        }}\n    }}\n'
    return f'{{\n    "pbs_server":"h",\n{jobs}}}\n'


# Submit.


def test_all_that_is_asked_for_is_on_the_command_line() -> None:
    words = words_of(
        Pbs(disk="scratch"), cpu=4, gpu=2, memory_bytes=(2 << 30) + 1, disk_bytes=1 << 30,
        time_s=90_061, count=3, queue="workq@h", account="ice", extra={"host": "n1"},
        options=["-P", "x"],
    )  # fmt: skip
    assert words == [
        "qsub", "-N", TAG, "-S", "/bin/sh", "-j", "oe", "-m", "n", "-o", "/data/log.^array_index^",
        "-J", "0-2", "-l", "select=1:ncpus=4:mem=2049mb:ngpus=2:scratch=1024mb:host=n1",
        "-l", "walltime=25:01:01", "-q", "workq@h", "-A", "ice", "-P", "x",
    ]  # fmt: skip


def test_torque_is_asked_in_its_own_words() -> None:
    words = words_of(Torque(), cpu=4, gpu=2, memory_bytes=1 << 30, time_s=60, count=3)
    assert words[-5:] == [
        "n", "-t", "0-2", "-l", "nodes=1:ppn=4:gpus=2,mem=1024mb,walltime=00:01:00",
    ]  # fmt: skip
    assert Torque().log_file("/data/log", JobName("7[2].h")) == "/data/log-2"


def test_torque_without_arrays_takes_one_pilot_at_a_time() -> None:
    with pytest.raises(SchedulerError, match="one pilot at a time"):
        words_of(Torque(arrays=False), count=2)
    assert "-t" not in words_of(Torque(arrays=False))


def test_a_single_job_is_not_run_twice_and_an_array_may_be() -> None:
    assert words_of(Pbs())[10:14] == ["/data/log.0", "-r", "n", "-l"]
    assert "-r" not in words_of(Pbs(), count=2)


def test_the_script_goes_to_its_folder_after_the_lines_of_the_admin() -> None:
    spec = PilotSpec(TAG, ["p", "s"], "/l", folder="/it's", lines=["#PBS -W x=y"])
    script = Pbs().submit(spec).stdin.decode().split("\n")
    assert script[:3] == ["#!/bin/sh", "#PBS -W x=y", "cd '/it'\"'\"'s' || exit 1"]


@pytest.mark.parametrize(
    "more",
    [
        {"log": "/a:b"}, {"log": "/a^array_index^"}, {"log": "/a\\b"}, {"queue": "-z"},
        {"queue": "$(id)"}, {"account": "; id"}, {"folder": "/a\nb"}, {"extra": {"a=1": "1"}},
        {"extra": {"a": "1:ncpus=4"}}, {"options": ["a\nb"]}, {"lines": ["a\n#PBS -V"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("pbs", [Pbs(), Torque()], ids=["pbs", "torque"])
def test_a_word_that_means_more_than_it_says_is_refused(pbs: Pbs, more: dict[str, Any]) -> None:
    with pytest.raises(SchedulerError):
        words_of(pbs, **more)


def test_the_jobs_of_a_submission_are_named() -> None:
    spec = PilotSpec(TAG, [], "", count=2)
    assert Pbs().submitted(out("176[].pbshost\n"), spec) == ["176[0].pbshost", "176[1].pbshost"]
    assert Pbs().submitted(out("Welcome to h!\n0.h\n"), SPEC) == ["0.h"]
    assert Torque().submitted(out("16\n"), SPEC) == ["16"]
    assert Pbs().log_file("/data/log", JobName("176[1].pbshost")) == "/data/log.1"
    assert Pbs().log_file("/data/log", JobName("177.pbshost")) == "/data/log.0"


@pytest.mark.parametrize("text", ["", "7.h\n", "7[].h", "7[1].h\n", "7[].h\n8[].h\n", "x[].h\n"])
def test_an_answer_that_names_no_such_job_is_refused(text: str) -> None:
    with pytest.raises(SchedulerError):
        Pbs().submitted(out(text), PilotSpec(TAG, [], "", count=2))


def test_a_refused_submission_is_quoted() -> None:
    with pytest.raises(SchedulerError, match="Unknown queue"):
        Pbs().submitted(out("", 170, "qsub: Unknown queue\n"), SPEC)


# Listing.


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_state_has_its_meaning(flavour: str) -> None:
    assert states("array-t-running", flavour) == {
        "176[1]": ("done", 0), "176[2]": ("failed", 3), "176[3]": ("running", None),
    }  # fmt: skip
    assert set(states("array-t-queued", flavour).values()) == {("queued", None)}
    assert set(states("queued", flavour).values()) == {("queued", None)}
    assert set(states("impossible", flavour).values()) == {("queued", None)}
    assert set(states("held", flavour).values()) == {("held", None)}
    assert set(states("running", flavour).values()) == {("running", None)}
    assert set(states("finished-rc3", flavour).values()) == {("failed", 3)}
    assert set(states("walltime", flavour).values()) == {("timed out", None)}
    assert set(states("deleted-running", flavour).values()) == {("cancelled", None)}
    assert set(states("deleted-queued", flavour).values()) == {("cancelled", None)}
    assert states("unknown", flavour) == {}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_listing_has_the_living_with_host_tag_and_words(flavour: str) -> None:
    found = Pbs().listed(printed(f"openpbs/array-t-running.{flavour}.json"))
    assert [*found] == ["176[3].pbshost"]
    [job] = found.values()
    assert (job.host, job.tag) == ("pbshost", "floe-pbs-array001")
    [job] = Pbs().listed(printed(f"openpbs/impossible.{flavour}.json")).values()
    assert job.words.startswith("Can Never Run: Insufficient amount of resource: ncpus")


def test_no_jobs_is_no_error_but_no_answer_is() -> None:
    assert listed(NO_JOBS) == {}
    assert listed("Welcome!\n\x1b[1mnews\x1b[0m\n" + NO_JOBS) == {}
    for text in ("", "\n", "qstat: nothing\n", '{"Jobs": {}}', '{"pbs_server":"h","Jobs":[1]}'):
        with pytest.raises(SchedulerError):
            listed(text)
    with pytest.raises(SchedulerError, match="cannot connect"):
        Pbs().listed(out(NO_JOBS, 255, "qstat: cannot connect to server h\n"))


@pytest.mark.parametrize("value", ["nan", "inf", ".5", "1.", "+5", "-inf", "0x1p3", "007"])
def test_a_bare_word_in_somebodys_job_hides_none_of_ours(value: str) -> None:
    assert listed(json_of(Account_Name=value)) == {"7.h": "running"}
    assert listed(json_of(Job_Name=value)) == {}


def test_bytes_that_are_no_text_and_control_characters_hide_none_of_ours() -> None:
    text = json_of(comment='"a\x01\tb"').encode().replace(b"\x01", b"\xff\x01")
    assert len(Pbs().listed(Completed(0, text, b""))) == 1


@pytest.mark.parametrize("bad", ['"a"b"', '"\\d"', '"a\nb" x'])
def test_other_broken_json_is_asked_for_as_text(bad: str) -> None:
    with pytest.raises(OtherForm) as caught:
        listed(json_of(comment=bad))
    assert caught.value.instead.argv == ["qstat", "-f", "-t"]


def test_a_listing_cut_anywhere_tells_nothing() -> None:
    whole = (DATA / "openpbs/array-t-running.release.json").read_bytes().rstrip()
    for size in range(0, len(whole), 101):
        with pytest.raises(SchedulerError):
            Pbs().listed(Completed(0, whole[:size], b""))
    text = text_of(comment="x")
    for size in range(len(text)):
        with pytest.raises(SchedulerError):
            listed(text[:size])


def test_the_text_form_is_read_too() -> None:
    long = "x" * 40 + "\n\t" + "y" * 70
    text = "Warning!\n\n" + text_of(comment=long, exec_host="n1/0*2+n2/0")
    [job] = Pbs().listed(out(text)).values()
    assert (job.state, job.host) == (JobState.RUNNING, "n1")
    assert job.words == "x" * 40 + "y" * 70


def test_newlines_in_variables_cannot_make_a_job_of_ours() -> None:
    evil = f"a\nJob Id: 7.h\n    Job_Name = {TAG}\n    job_state = F"
    assert listed(text_of(Job_Name="b", Variable_List=evil)) == {}
    evil = f"a\n\nJob Id: 7.h\n    Job_Name = {TAG}\n    job_state = F"
    with pytest.raises(SchedulerError, match="twice"):
        listed(text_of(Variable_List=evil))


def test_a_job_without_a_state_or_id_makes_the_listing_unbelievable() -> None:
    for text in (
        text_of(job_state="running"),
        json_of(job_state="1"),
        text_of().replace("7.h", "$(id)"),
        json_of().replace("7.h", "7[x].h"),
        text_of(job_state="F", Exit_status="x"),
    ):
        with pytest.raises(SchedulerError):
            Pbs().listed(out(text))


def test_foreign_jobs_are_passed_over() -> None:
    for name in ("STDIN", "floe-1", f"a{TAG}", f"{TAG}\\nx"):
        assert listed(json_of(Job_Name=f'"{name}"')) == {}


# Looking up.


@pytest.mark.parametrize(
    ("substate", "shown", "state", "status"),
    [
        ("92", "0", "done", 0), ("92", "", "failed", None), ("93", "0", "failed", None),
        ("93", "7", "failed", 7), ("93", "137", "failed", -9), ("93", "265", "failed", -9),
        ("93", "200", "failed", 200), ("93", "-29", "timed out", None),
        ("93", "-27", "failed", None), ("93", "-20", "node failed", None),
        ("91", "0", "cancelled", None), ("91", "271", "cancelled", None),
        ("91", "", "cancelled", None), ("93", "", "ended", None), ("93", "-99", "failed", None),
    ],
)  # fmt: skip
def test_how_a_job_ended_is_told_by_substate_and_status(
    substate: str, shown: str, state: str, status: int | None
) -> None:
    record = {"Job_Name": TAG, "job_state": "F", "substate": substate}
    found = report({**record, "Exit_status": shown} if shown else record)
    assert (found.state.value, found.exit) == (state, status)


def test_torque_has_numbers_of_its_own() -> None:
    record = {"job_state": "C", "Exit_status": "-11"}
    assert report(record, TORQUE_EXITS).state is JobState.TIMED_OUT
    assert report({"job_state": "C"}, TORQUE_EXITS).state is JobState.ENDED


def test_letters_that_nobody_knows_are_unknown() -> None:
    for letter in "MZ":
        assert report({"job_state": letter}).state is JobState.UNKNOWN


def test_arrays_are_looked_up_as_a_whole() -> None:
    jobs = [JobName(job) for job in ("7[1].h", "7[2].h", "9.h")]
    history, server = Pbs().lookup(jobs, [TAG])
    assert history.argv == ["qstat", "-x", "-f", "-t", "7[].h", "9.h"]
    assert server.argv == ["qstat", "-f", "-t", "7[].h", "9.h"]
    assert [c.argv for c in Torque(arrays=False).lookup(jobs[2:], [])] == [["qstat", "-f", "9.h"]]


def test_what_the_server_says_to_have_finished_is_over_and_what_it_does_not_know_is_not() -> None:
    err = "qstat: Unknown Job Id 8[].h\nqstat: 9.h Job has finished, use -x or -H to obtain ...\n"
    jobs = [JobName(job) for job in ("7.h", "8[1].h", "9.h", "10.h")]
    found = Pbs().looked_up(0, out(text_of(), 153, err), jobs)
    assert {job: each.state.value for job, each in found.items()} == {
        "7.h": "running", "8[1].h": "unknown", "9.h": "ended",
    }  # fmt: skip
    assert [job for job, each in found.items() if each.denied] == ["8[1].h"]


@pytest.mark.parametrize("status", [255, 1, 162, -9])
def test_a_lookup_that_fails_tells_nothing(status: int) -> None:
    with pytest.raises(SchedulerError):
        Pbs().looked_up(0, out("", status, "qstat: cannot connect\n"), [JobName("7.h")])


def test_a_history_that_is_not_kept_tells_nothing() -> None:
    assert Pbs().looked_up(0, out("", 0, "qstat: no history\n"), [JobName("7.h")]) == {}


# The rest.


@pytest.mark.parametrize(
    ("done", "fine"),
    [
        (out(""), True),
        (out("", 153, "qdel: Unknown Job Id 9.h\n"), True),
        (out("", 35, "qdel: Job has finished 9.h\nqdel: Unknown Job Id 8.h\n"), True),
        (out("", 159, "qdel: Unknown Job Id 8.h\nqdel: Unauthorized Request 9.h\n"), False),
        (out("", 222, "qdel: Server could not connect to MOM 9.h\n"), False),
        (out("", 1), False),
    ],
)
def test_that_jobs_are_gone_is_no_error_of_a_cancel(done: Completed, fine: bool) -> None:
    with contextlib.nullcontext() if fine else pytest.raises(SchedulerError):
        Pbs().cancelled(done)


def test_slurms_commands_say_nothing_of_jobs_that_are_gone() -> None:
    Torque().cancelled(out("", 1))
    jobs = [JobName("26"), JobName("99")]
    found = Torque().looked_up(0, printed("torque/qstat-f-deleted.txt"), jobs)
    assert {job: each.state.value for job, each in found.items()} == {"26": "ended"}
    assert Torque().looked_up(0, out("", 153), jobs) == {}
    [job] = Torque().listed(printed("torque/qstat-f.txt")).values()
    assert (job.state, job.host, job.tag) == (JobState.RUNNING, "alpha1", "floe-pbs-torque01")
    assert Torque().listed(out("")) == Torque().listed(out("", 153)) == {}
    for done in (out("", 1), out("", 153, "qstat: Unknown Job Id\n"), out("junk\n", 153)):
        with pytest.raises(SchedulerError):
            Torque().listed(done)


def test_the_reason_of_a_job_or_of_its_array_is_told() -> None:
    assert Pbs().describe(JobName("7[1].h")).argv == ["qstat", "-f", "7[].h", "7[1].h"]
    text = text_of(comment="Not Running: full") + text_of(job_state="Q").replace("7.h", "7[1].h")
    assert Pbs().described(out(text)) == "Not Running: full"
    assert Pbs().described(out(text_of(job_state="H", Hold_Types="us"))) == (
        "held by its owner and the system"
    )
    assert Pbs().described(out("", 153, "qstat: Unknown Job Id 9.h\n")) == ""


def test_queues_tell_what_they_allow() -> None:
    text = (
        "Queue: workq\n    queue_type = Execution\n    enabled = True\n    started = True\n\n"
        "Queue: short\n    resources_max.mem = 4gb\n    resources_max.ncpus = 8\n"
        "    resources_max.ngpus = 2\n    resources_max.walltime = 02:00:00\n"
        "    enabled = True\n    started = False\n\n"
    )
    workq, short = Pbs().limits_of(out(text))
    assert (workq.name, workq.time_s_max, workq.open) == ("workq", None, True)
    assert (short.time_s_max, short.cpu_max, short.gpu_max) == (7200, 8, 2)
    assert (short.memory_bytes_max, short.open) == (4 << 30, False)
    assert short.words == "the queue is stopped"
    with pytest.raises(SchedulerError):
        Pbs().limits_of(out(text.replace("4gb", "much")))


def test_the_version_is_told() -> None:
    text = "Server: h\n    server_state = Active\n    pbs_version = 23.06.06\n\n"
    assert Pbs().version_of(out(text)) == "PBS 23.06.06, server h: Active"
    with pytest.raises(SchedulerError):
        Pbs().version_of(out("", 255, "qstat: cannot connect\n"))


def test_the_owner_of_a_job_is_told_as_the_listing_is_of_everybodys() -> None:
    jobs = Pbs().listed(printed("openpbs/array-t-running.release.json"))
    assert {report.owner for report in jobs.values()} == {"user1"}

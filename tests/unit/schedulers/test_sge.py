"""Grid Engine's commands as they are written, and what a real one printed, read back.

The samples in tests/data/sge are of Grid Engine 8.1.9.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedulers.base import Completed, JobName, JobState, PilotSpec, SchedulerError
from schedulers.sge import TAGS_EACH_MAX, Sge
from schedulers.sgewords import living

DATA = Path(__file__).parents[2] / "data/sge"
TAG = "floe-desy-k3x9w2q1"
SPEC = PilotSpec(TAG, ["pilot.pyz", "settings.json"], "/data/log")
EMPTY = "<?xml version='1.0'?>\n<job_info>\n<queue_info/>\n<job_info/>\n</job_info>\n"


def printed(name: str, status: int = 0) -> Completed:
    return Completed(status, (DATA / name).read_bytes(), b"")


def out(text: str, status: int = 0, err: str = "") -> Completed:
    return Completed(status, text.encode(), err.encode())


def submit_words(sge: Sge | None = None, **more: Any) -> list[str]:
    return list((sge or Sge()).submit(PilotSpec(TAG, SPEC.argv, **{"log": SPEC.log, **more})).argv)


def looked_up(done: Completed, *jobs: str) -> dict[JobName, JobState]:
    found = Sge().looked_up(0, done, [JobName(job) for job in jobs])
    return {job: report.state for job, report in found.items()}


# Submit.


def test_all_that_is_asked_for_is_on_the_command_line() -> None:
    words = submit_words(
        folder="/data", cpu=4, gpu=4, memory_bytes=(2 << 30) + 1, time_s=90_061, count=3,
        queue="main.q", account="ice", extra={"os": "sl7"}, options=["-soft"],
    )  # fmt: skip
    assert words == [
        "qsub", "-terse", "-N", TAG, "-S", "/bin/sh", "-b", "n", "-j", "y", "-r", "n", "-notify",
        "-o", "/data/log.$TASK_ID", "-t", "1-3", "-wd", "/data", "-pe", "smp", "4",
        "-l", "h_rt=90061", "-l", "h_vmem=513M", "-l", "gpu=1", "-l", "os=sl7", "-q", "main.q",
        "-P", "ice", "-soft",
    ]  # fmt: skip


def test_what_is_not_asked_for_is_left_to_the_site() -> None:
    assert submit_words()[-1] == "/data/log.0"
    assert not {"-l", "-t", "-pe", "-q"} & set(submit_words())


def test_a_site_has_its_own_names_for_resources_and_counts_them_as_it_likes() -> None:
    sge = Sge(memory="mem_free", gpu="ngpus", disk="scratch", per_job=["gpu", "disk"])
    words = submit_words(sge, cpu=2, gpu=1, memory_bytes=1 << 30, disk_bytes=1 << 30)
    assert words[-6:] == ["-l", "mem_free=512M", "-l", "scratch=1024M", "-l", "ngpus=1"]


def test_gpus_that_do_not_divide_over_slots_are_refused() -> None:
    with pytest.raises(SchedulerError, match="counts for each slot"):
        submit_words(cpu=4, gpu=2)


@pytest.mark.parametrize(
    "more",
    [
        {"log": "/data/$HOME"}, {"log": "/a:b"}, {"log": "/a,b"}, {"queue": "-clear"},
        {"account": "@/etc/passwd"}, {"folder": "/a\nb"}, {"extra": {"a=1 -V": "1"}},
        {"extra": {"os": "1,h_rt=1"}}, {"options": ["a\nb"]}, {"lines": ["a\n#$ -V"]},
    ],
)  # fmt: skip
def test_a_word_that_means_more_than_it_says_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(SchedulerError):
        submit_words(**more)


def test_the_jobs_of_a_submission_are_named() -> None:
    spec = PilotSpec(TAG, [], "", count=3)
    assert Sge().submitted(printed("qsub-array.txt"), spec) == ["7.1", "7.2", "7.3"]
    assert Sge().submitted(printed("qsub.txt"), SPEC) == ["8"]
    assert Sge().log_file("/data/log", JobName("7.2")) == "/data/log.2"
    assert Sge().log_file("/data/log", JobName("8")) == "/data/log.0"


@pytest.mark.parametrize(
    "done",
    [
        out("", 1, "Unable to run job: unknown resource"), out(""), out("Your job 8 is in\n"),
        out("8\n9\n"), out("7.1-4:1\n"), out("8"),
    ],
)  # fmt: skip
def test_an_answer_that_names_no_such_job_is_refused(done: Completed) -> None:
    with pytest.raises(SchedulerError):
        Sge().submitted(done, PilotSpec(TAG, [], "", count=3))


# List.


def test_the_listing_tells_our_jobs_apart() -> None:
    found = Sge().listed(printed("listing.xml"))
    assert {job: report.state.value for job, report in found.items()} == {
        "7.1": "running", "7.2": "running", "7.3": "running", "11": "running",
        "12": "queued", "13": "queued", "14": "held",
    }  # fmt: skip
    assert found[JobName("7.2")].host == "localhost"
    assert found[JobName("7.2")].tag == "floe-sge-array0001"


def test_an_empty_listing_of_a_system_that_works_is_no_error() -> None:
    assert Sge().listed(out(EMPTY)) == {}
    assert Sge().listed(out("Welcome!\n\x1b[1mnews\x1b[0m\n" + EMPTY)) == {}


@pytest.mark.parametrize(
    "text",
    [
        "", "error: commlib error\n", "<?xml version='1.0'?>\n<job_info/>",
        "<?xml version='1.0'?>\n<html><queue_info/><job_info/></html>",
        "<?xml version='1.0'?>\n<!DOCTYPE a [<!ENTITY b 'c'>]>\n" + EMPTY.split("\n", 1)[1],
        EMPTY + "and more", EMPTY[:-9],
    ],
)  # fmt: skip
def test_what_is_no_listing_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(SchedulerError):
        Sge().listed(out(text))


def test_a_listing_cut_anywhere_is_refused() -> None:
    whole = (DATA / "listing.xml").read_bytes().rstrip()
    for size in range(0, len(whole), 97):
        with pytest.raises(SchedulerError):
            Sge().listed(Completed(0, whole[:size], b""))


def test_a_failed_or_overlong_listing_is_refused() -> None:
    for done in (out(EMPTY, 1), Completed(0, EMPTY.encode(), b"", cut=True)):
        with pytest.raises(SchedulerError):
            Sge().listed(done)


def test_a_job_that_is_listed_twice_makes_the_listing_unbelievable() -> None:
    text = (DATA / "listing.xml").read_text().replace("<tasks>2<", "<tasks>1<")
    with pytest.raises(SchedulerError, match="twice"):
        Sge().listed(out(text))


def test_control_characters_in_a_foreign_name_hide_none_of_ours() -> None:
    text = (DATA / "listing.xml").read_text().replace("floe-sge-x", "a\x01\x1b[2J")
    assert len(Sge().listed(out(text))) == 7


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("qw", "queued"), ("hqw", "held"), ("hRwq", "held"), ("Rq", "queued"), ("t", "running"),
        ("r", "running"), ("hr", "running"), ("Rr", "running"), ("ts", "running"),
        ("S", "running"), ("tT", "running"), ("Eqw", "held"), ("EhRqw", "held"),
        ("dr", "running"), ("dRT", "running"), ("z", "ended"), ("xyz", "unknown"),
        ("", "unknown"), ("d", "unknown"),
    ],
)  # fmt: skip
def test_every_combination_of_state_letters_has_its_meaning(letters: str, state: str) -> None:
    assert living(letters, "", "").state.value == state


# Look up.


def test_the_accounting_tells_how_jobs_ended() -> None:
    found = Sge().looked_up(0, printed("qacct.txt"), [])
    told = {job: (report.state.value, report.exit, report.tag) for job, report in found.items()}
    assert told == {
        "8": ("done", 0, "floe-sge-done0001"),
        "9": ("failed", 3, "floe-sge-fail0001"),
        "10": ("failed", -9, "floe-sge-killed01"),
        "11": ("timed out", -9, "floe-sge-timeout1"),
        "7.1": ("done", 0, "floe-sge-array0001"),
        "16": ("failed", -9, "floe-sge-delete01"),
    }
    assert found[JobName("10")].words == "assumedly after job"


def change(name: str, **changed: str) -> Completed:
    """The accounting with other values in the record of one job."""
    text = (DATA / "qacct.txt").read_text()
    head, mark, rest = text.partition(f"jobname      {name}")
    record, end, others = rest.partition("=====")
    lines = [
        f"{key}  {changed.get(key, line[len(key) :].strip())}"
        for line in record.split("\n")
        for key in [line.partition(" ")[0]]
    ]
    return out(head + mark + "\n".join(lines) + end + others)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"failed": "28  : changing into working directory"}, None),  # it waits in error state
        ({"failed": "25  : rescheduling"}, None),
        ({"failed": "19  : before writing exit_status"}, "node failed"),
        ({"failed": "100 : assumedly after job", "exit_status": "137"}, "failed"),
        ({"failed": "37  : over a limit", "category": "-l h_rt=600"}, "failed"),
        ({"failed": "37  : over a limit", "category": "NONE"}, "timed out"),
    ],
)
def test_a_failure_code_tells_whether_a_job_is_over(
    changed: dict[str, str], state: str | None
) -> None:
    report = Sge().looked_up(0, change("floe-sge-fail0001", **changed), []).get(JobName("9"))
    assert (report.state.value if report else None) == state


def test_a_fork_that_tells_who_deleted_a_job_is_believed() -> None:
    text = (DATA / "qacct.txt").read_text().replace("arid ", "deleted_by   ana@h\narid ")
    assert looked_up(out(text), "10") == {"10": JobState.CANCELLED}


def test_only_jobs_that_were_asked_for_are_told_of() -> None:
    assert looked_up(printed("qacct.txt"), "9", "77") == {"9": JobState.FAILED}


@pytest.mark.parametrize("key", ["jobnumber", "failed", "exit_status", "taskid"])
def test_a_broken_record_makes_the_accounting_unbelievable(key: str) -> None:
    with pytest.raises(SchedulerError):
        looked_up(change("floe-sge-fail0001", **{key: "x"}))
    text = (DATA / "qacct.txt").read_text().replace(f"\n{key} ", "\nelse ")
    with pytest.raises(SchedulerError):
        looked_up(out(text))


def test_what_the_accounting_has_not_is_nothing() -> None:
    assert looked_up(out("", 1, "error: job id 9 not found\n"), "9") == {}
    assert looked_up(out("", 1, f"error: job name {TAG} not found\n"), "9") == {}


def test_a_missing_accounting_knows_nothing_of_jobs_and_answers_for_no_submission() -> None:
    """So it is until the first job of a cluster ends."""
    none = "no jobs running since startup\n"
    missing = out(none, 1, "/opt/sge/default/common/accounting: No such file or directory\n")
    assert looked_up(missing, "9") == {}
    with pytest.raises(SchedulerError, match="No such file"):
        looked_up(missing)
    unreadable = out(none, 1, "error: unable to open /opt/sge/default/common/accounting\n")
    with pytest.raises(SchedulerError, match="unable to open"):
        looked_up(unreadable, "9")
    with pytest.raises(SchedulerError):
        looked_up(out("", 1, "can't open accounting file\n"), "9")


def denied(done: Completed, *jobs: str) -> set[JobName]:
    found = Sge().looked_up(0, done, [JobName(job) for job in jobs])
    assert not any(report.state.over for report in found.values())
    return {job for job, report in found.items() if report.denied}


def test_what_the_master_does_not_know_is_denied_and_not_over() -> None:
    assert denied(printed("unknown.xml"), "998", "999.4", "7") == {"998", "999.4"}
    assert denied(printed("impossible.xml"), "12", "998") == {"998"}
    assert denied(out(EMPTY), "998") == set()


def test_a_task_that_is_missing_beside_others_of_its_array_is_denied_and_not_over() -> None:
    jobs = ("7.1", "7.4", "8.1", "15.9")
    assert denied(printed("listing.xml"), *jobs) == {"7.4"}
    assert looked_up(printed("listing.xml"), *jobs)["7.1"] is JobState.RUNNING


def test_few_submissions_are_looked_up_one_by_one_and_many_at_once() -> None:
    tags = [f"floe-sge-a{number:07d}" for number in range(TAGS_EACH_MAX + 1)]
    many = [list(command.argv) for command in Sge().lookup([], tags)]
    assert many[0] == ["qacct", "-d", "8", "-j", "floe-sge-a000000*"]
    assert len(many) == 1 + TAGS_EACH_MAX
    few = Sge().lookup([JobName("7.1"), JobName("7.2"), JobName("9")], tags[:1])
    assert few[0].argv == ["qacct", "-j", tags[0]]
    assert few[-1].argv == ["qstat", "-xml", "-j", "7,9"]


# Cancel, describe, limits, version.


def test_tasks_are_cancelled_in_ranges() -> None:
    jobs = [JobName(job) for job in ("7.1", "8", "7.3", "7.2", "7.9")]
    assert Sge(commands={"qdel": "/opt/qdel -f"}).cancel(jobs).argv == [
        "/opt/qdel", "-f", "8", "7.1-3", "7.9",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("done", "fine"),
    [
        (out("ana has registered the job 2 for deletion\n"), True),
        (out('denied: job "9" does not exist\nana has deleted job-array task 1.6\n', 1), True),
        (out('job "1" task "1" does not exist\n', 1), True),
        (out('denied: job "9" does not exist\ndenied: "9" is not yours\n', 1), False),
        (out("", 1, "error: commlib error: got select error (Connection refused)\n"), False),
        (out("", 1), False),
    ],
)
def test_that_jobs_are_gone_is_no_error_of_a_cancel(done: Completed, fine: bool) -> None:
    with contextlib.nullcontext() if fine else pytest.raises(SchedulerError):
        Sge().cancelled(done)


def test_the_reason_of_a_job_is_told() -> None:
    error = Sge().described(printed("error-state.xml"))
    assert error.startswith(
        "error: can't chdir to /nonexistent: No such file or directory (in error"
    )
    assert Sge().described(printed("impossible.xml"))
    assert Sge().described(printed("unknown.xml")) == ""


def test_queues_tell_what_they_allow() -> None:
    text = (DATA / "queues.txt").read_text()
    [queue] = Sge().limits_of(out(text))
    assert (queue.name, queue.time_s_max, queue.cpu_max) == ("main.q", None, 4)
    text = text.replace("h_rt                  INFINITY", "h_rt    2:00:00,[big=24:00:00]")
    text = text.replace("h_vmem                INFINITY", "h_vmem  2G,[big=4G]")
    text = text.replace("slots                 4", "slots   4,[big=8],[@all=6]")
    [queue] = Sge().limits_of(out(text))
    assert (queue.time_s_max, queue.memory_bytes_max, queue.cpu_max) == (86_400, 4 << 30, 8)


def test_a_queue_that_makes_no_sense_is_refused() -> None:
    for text in ("qname a\n", "qname a\nqtype BATCH\nh_rt x\n"):
        with pytest.raises(SchedulerError):
            Sge().limits_of(out(text))


def test_the_version_names_the_queues() -> None:
    assert Sge().version_of(printed("version.txt")) == "Grid Engine, 1 queue: main.q"
    with pytest.raises(SchedulerError, match="refused"):
        Sge().version_of(out("", 1, "error: commlib error: connection refused\n"))


def test_hosts_that_are_of_no_use_are_left_out() -> None:
    argv = Sge().submit(replace(SPEC, avoid=["a1", "b2.example.org", "x)|*"])).argv
    assert argv[argv.index("hostname=!(a1|b2.example.org)") - 1] == "-l"


def test_the_owner_of_a_job_is_told_by_the_listing_and_by_the_accounting() -> None:
    """The accounting is of everybody's jobs."""
    assert {report.owner for report in Sge().listed(printed("listing.xml")).values()} == {"floe"}
    found = Sge().looked_up(0, printed("qacct.txt"), [])
    assert {report.owner for report in found.values()} == {"floe"}

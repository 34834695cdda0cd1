"""HTCondor's language is written so that words stay words, and read whole or not at all.

tests/data/htcondor holds what HTCondor 23.9.6 printed for the plugin's own commands; files with 25
in their name come from 25.14.1.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulers.base import (
    WORDS_MAX,
    Completed,
    JobName,
    JobState,
    OtherForm,
    PilotSpec,
    Report,
    SchedulerError,
)
from schedulers.htcondor import HTCondor

DATA = Path(__file__).resolve().parents[2] / "data" / "htcondor"
CONDOR = HTCondor()
SPEC = PilotSpec(
    name="floe-madison-abcd2345",
    argv=["/srv/floe/pilot.pyz", "/srv/floe/settings.json"],
    log="/srv/floe/logs/pilot",
    files=["/srv/floe/pilot.pyz", "/srv/floe/settings.json"],
)


def printed(name: str) -> Completed:
    return Completed(0, (DATA / name).read_bytes(), b"")


def failed(err: str, out: str = "", status: int = 1) -> Completed:
    return Completed(status, out.encode(), err.encode())


def lines_of(spec: PilotSpec, condor: HTCondor = CONDOR) -> list[str]:
    return condor.submit(spec).stdin.decode().split("\n")


def value_of(spec: PilotSpec, name: str) -> str:
    """Of the last line that sets this submit command."""
    found = [line for line in lines_of(spec) if line.split(" = ")[0] == name]
    assert found, name
    return found[-1].partition(" = ")[2]


def condor_words(arguments: str) -> list[str]:
    """What a worker makes of `arguments`: macros, then the newer syntax; manual, condor_submit."""
    text = re.sub(r"\$\(([A-Za-z_]+)\)", lambda m: {"DOLLAR": "$"}.get(m[1], ""), arguments)
    assert "$$(" not in text
    assert "$$[" not in text
    assert text[0] == text[-1] == '"'
    text = text[1:-1].replace('""', '"')
    return [word.replace("''", "'") for word in re.findall(r"'((?:[^']|'')*)'", text)]


def shell_of(argv: list[str], tmp_path: Path) -> list[str]:
    """The words that a pilot gets, through HTCondor's quoting and a real sh."""
    spec = replace(SPEC, argv=[str(tmp_path / "show.py"), *argv], files=[])
    (tmp_path / "show.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    words = condor_words(value_of(spec, "arguments"))
    done = subprocess.run(["/bin/sh", *words], capture_output=True, check=True)
    shown: list[str] = json.loads(done.stdout)
    return shown


HOSTILE = [
    "it's",
    'say "x"',
    "$(id)",
    "$$(Memory)",
    "$$([1+1])",
    "$(DOLLAR)",
    "$ENV(HOME)",
    "$$$$",
    "`id`",
    ";id",
    "a b ",
    "%j\\",
    "\\n",
    "#x",
    "ü—😀",
    "x" * 4000,
    "&&",
    "*",
]


# Submitting.


def test_every_word_of_a_pilot_arrives_as_it_is(tmp_path: Path) -> None:
    assert shell_of(HOSTILE, tmp_path) == HOSTILE


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=50))
def test_no_word_becomes_a_macro_of_htcondor(word: str) -> None:
    text = value_of(replace(SPEC, argv=["p", word]), "arguments")
    assert "\n" not in text
    inner = text.replace("$(DOLLAR)", "\0")
    assert "$" not in inner
    assert "\0\0" not in inner
    assert "\0(" not in inner
    assert shlex.split(condor_words(text)[1].partition('exec "$python" ')[2])[:2] == ["p", word]


@pytest.mark.parametrize("bad", ["two\nqueue 100", "a\0b", "x" * 100_000, "a\x1b[1m", ""])
def test_a_word_that_does_not_fit_on_a_line_is_refused(bad: str) -> None:
    for spec in (
        replace(SPEC, argv=["p", bad]),
        replace(SPEC, account=bad) if bad else replace(SPEC, lines=[bad]),
        replace(SPEC, lines=[bad]),
        replace(SPEC, extra={"licences": bad}),
        replace(SPEC, log="/l" + bad) if bad else replace(SPEC, argv=[""]),
    ):
        with pytest.raises(SchedulerError):
            CONDOR.submit(spec)


@pytest.mark.parametrize(
    "changes",
    [
        {"log": "/a/$$(Memory)"},
        {"log": "/a/$(DOLLAR)"},
        {"log": "/a/b\\;c"},
        {"account": '"x"'},
        {"log": "relative"},
        {"account": "physics\\"},
        {"files": ["/a/b,c"]},
        {"files": ["/a/x", "/b/x"]},
        {"files": ["/a/x\\"]},
        {"extra": {"a = 1\nqueue": "1"}},
        {"lines": ["Queue 100"]},
        {"queue": "long"},
    ],
)
def test_what_the_submit_language_cannot_say_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SchedulerError):
        CONDOR.submit(replace(SPEC, **changes))  # type: ignore[arg-type]


def test_files_travel_by_htcondor_and_are_named_without_their_folder() -> None:
    assert value_of(SPEC, "transfer_input_files") == "/srv/floe/pilot.pyz, /srv/floe/settings.json"
    assert value_of(SPEC, "transfer_output_files") == '""'
    script = condor_words(value_of(SPEC, "arguments"))[1]
    assert 'exec "$python" pilot.pyz settings.json </dev/null' in script


def test_names_in_a_folder_are_taken_from_there() -> None:
    spec = replace(SPEC, folder="/srv/floe", argv=["pilot.pyz", "s.json"], files=["pilot.pyz"])
    assert value_of(spec, "transfer_input_files") == "/srv/floe/pilot.pyz"
    spec = replace(spec, log="logs;/a b$;")
    assert value_of(spec, "initialdir") == "/srv/floe/logs;"
    assert value_of(spec, "output") == "a b$(DOLLAR)\\;.$(ProcId)"


def test_sizes_are_rounded_up_to_the_units_of_htcondor() -> None:
    spec = replace(
        SPEC, cpu=3, gpu=2, memory_bytes=(1 << 20) + 1, disk_bytes=1025, extra={"tapes": "1"}
    )
    wants = {name: value_of(spec, f"request_{name}") for name in ("cpus", "gpus", "memory", "disk")}
    assert wants == {"cpus": "3", "gpus": "2", "memory": "2", "disk": "2"}
    assert value_of(spec, "request_tapes") == "1"
    assert not [line for line in lines_of(SPEC) if line.startswith(("request_gpus", "request_mem"))]


def test_the_time_limit_is_part_of_what_removes_a_job() -> None:
    assert "> 3600)" in value_of(replace(SPEC, time_s=3600), "periodic_remove")
    assert "time()" not in value_of(SPEC, "periodic_remove")


def test_lines_of_the_admin_come_after_ours_and_before_the_queue() -> None:
    lines = lines_of(replace(SPEC, lines=["requirements = OpSys", "+Project = 1"], count=7))
    assert lines[-4:] == ["requirements = OpSys", "+Project = 1", "queue 7", ""]


def test_settings_name_the_commands() -> None:
    condor = HTCondor("ice", commands={"condor_submit": "sudo -n csub -name 'ap 2'"})
    assert condor.name == "ice"
    assert list(condor.submit(replace(SPEC, options=["-debug"])).argv) == [
        *("sudo", "-n", "csub", "-name", "ap 2", "-terse", "-debug", "-"),
    ]
    with pytest.raises(ValueError, match="condor_sub"):
        HTCondor(commands={"condor_sub": "x"})


def test_the_site_s_python_is_tried_first() -> None:
    words = condor_words(value_of(SPEC, "arguments"))
    assert "for python in python3 /usr/bin/python3;" in words[1]
    lines = lines_of(SPEC, HTCondor(python="/opt/my python/$3"))
    text = next(line for line in lines if line.startswith("arguments"))
    assert "for python in '/opt/my python/'\\$'3' python3" in condor_words(text.split(" = ")[1])[1]


def test_a_worker_without_python_is_told_of_in_words(tmp_path: Path) -> None:
    words = condor_words(value_of(SPEC, "arguments"))
    script = words[1].replace("/usr/bin/python3", "/none/python3")
    done = subprocess.run(
        ["/bin/sh", words[0], script], capture_output=True, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 127
    assert done.stderr.decode().splitlines()[-1].endswith("tried: python3 /none/python3")


def test_a_submission_gives_each_pilot_a_name_and_a_log() -> None:
    jobs = CONDOR.submitted(printed("submitted.txt"), replace(SPEC, count=2))
    assert jobs == ["22.0", "22.1"]
    assert CONDOR.log_file("/l/pilot", jobs[1]) == "/l/pilot.1"
    assert value_of(SPEC, "initialdir") == "/srv/floe/logs"
    assert value_of(SPEC, "output") == value_of(SPEC, "error") == "pilot.$(ProcId)"


def test_a_warning_before_the_ids_is_no_id() -> None:
    done = Completed(0, b"\x1b[33mWARNING: 1.0 - 1.0 is old\x1b[0m\n7.0 - 7.0\n", b"")
    assert CONDOR.submitted(done, SPEC) == ["7.0"]


@pytest.mark.parametrize(
    "done",
    [
        failed("\nERROR: Executable file /nonexistent does not exist\n"),
        Completed(0, b"", b""),
        Completed(0, b"1.0 - 1.0\n2.0 - 2.0\n", b""),
        Completed(0, b"1.0 - 2.0\n", b""),
        Completed(0, b"1.0 - 1.5\n", b""),
        Completed(0, b"1.0 - 1.0", b""),
        Completed(0, b"1.0 - 1.0\n", b"", cut=True),
    ],
)
def test_a_submission_that_did_not_make_what_was_asked_is_an_error(done: Completed) -> None:
    with pytest.raises(SchedulerError):
        CONDOR.submitted(done, SPEC)


def test_the_words_of_a_refusal_are_quoted() -> None:
    err = "\nERROR: on Line 3 of submit file: \n\nERROR: Failed to parse command file (line 3).\n"
    with pytest.raises(SchedulerError, match=r"Line 3 of submit file.*Failed to parse"):
        CONDOR.submitted(failed(err), SPEC)


def test_an_option_that_condor_submit_does_not_know_is_named() -> None:
    usage = failed("Usage: condor_submit [options] [<attrib>=<value>] [- | <submit-file>]\n")
    with pytest.raises(SchedulerError, match="does not take all of these options: '-fast'"):
        CONDOR.submitted(usage, replace(SPEC, options=["-fast"]))


def test_another_schedd_and_its_pool_are_named_to_every_command() -> None:
    condor = HTCondor(schedd="ap2.example.org", pool="cm.example.org:9618")
    pool = ["-pool", "cm.example.org:9618"]
    for command in (
        condor.version(),
        condor.submit(SPEC),
        condor.listing(),
        *condor.lookup([JobName("1.0")], [SPEC.name]),
        condor.cancel([JobName("1.0")]),
        condor.describe(JobName("1.0")),
    ):
        assert list(command.argv[1:5]) == ["-name", "ap2.example.org", *pool]
    assert list(condor.limits().argv[1:3]) == pool


# What became of jobs.


def test_the_listing_tells_states_apart_and_leaves_foreign_jobs_out() -> None:
    found = CONDOR.listed(printed("listing.json"))
    assert {job: report.state for job, report in found.items()} == {
        "24.0": JobState.RUNNING,
        "26.0": JobState.QUEUED,
        "27.0": JobState.HELD,
        "28.0": JobState.QUEUED,
        "31.0": JobState.QUEUED,
    }
    assert "reading from file /srv/floe/gone.json" in found[JobName("27.0")].words
    assert found[JobName("24.0")].host == "127-0-0-1.pool.test"
    assert found[JobName("24.0")].tag == "floe-aa-cccccccc"
    assert found[JobName("28.0")].words == "floe: evicted, and soon removed"
    assert found[JobName("26.0")].words == ""


def test_each_status_has_its_state() -> None:
    ad = {"ClusterId": 1, "ProcId": 0, "JobBatchName": SPEC.name}
    states = {}
    for status in range(10):
        out = json.dumps([ad | {"JobStatus": status}]) + "\n"
        states[status] = CONDOR.listed(Completed(0, out.encode(), b""))[JobName("1.0")].state
    assert states == {
        0: JobState.UNKNOWN,
        1: JobState.QUEUED,
        2: JobState.RUNNING,
        3: JobState.RUNNING,
        4: JobState.ENDED,
        5: JobState.HELD,
        6: JobState.RUNNING,
        7: JobState.RUNNING,
        8: JobState.UNKNOWN,
        9: JobState.UNKNOWN,
    }


def test_an_answer_without_jobs_is_empty_and_a_schedd_that_is_down_is_an_error() -> None:
    assert CONDOR.listed(Completed(0, b"", b"")) == {}
    with pytest.raises(SchedulerError, match="Can't find address for schedd pool@") as caught:
        CONDOR.listed(printed_down())
    assert "Extra Info" not in str(caught.value)


def test_a_greeting_without_jobs_is_no_answer_but_the_number_of_jobs_is() -> None:
    greeting = b"Welcome to the pool.\n"
    with pytest.raises(OtherForm, match="Welcome") as caught:
        CONDOR.listed(Completed(0, greeting, b""))
    assert caught.value.instead.argv[:2] == ["condor_q", "-totals"]
    totals = greeting + (DATA / "totals.txt").read_bytes()
    assert CONDOR.listed(Completed(0, totals, b"")) == {}
    some = totals.replace(b"query: 0", b"query: 3")
    with pytest.raises(SchedulerError, match="no JSON") as other:
        CONDOR.listed(Completed(0, some, b""))
    assert not isinstance(other.value, OtherForm)
    assert CONDOR.listed(Completed(0, (DATA / "listing.json").read_bytes(), b""))


def printed_down() -> Completed:
    return Completed(1, b"", (DATA / "down.txt").read_bytes())


@pytest.mark.parametrize(
    "out",
    [
        b"hello\n",
        b"{}\n",
        b"[1]\n",
        b"[",
        b'[{"ClusterId": 1}]\n',
        b'[{"ClusterId": true, "ProcId": 0}]\n',
        b"[" * 100_000 + b"\n",
        (DATA / "listing.json").read_bytes()[:700],
        b"\xff\x00" * 1000 + b"\n",
    ],
)
def test_a_listing_that_does_not_parse_is_refused_as_a_whole(out: bytes) -> None:
    with pytest.raises(SchedulerError):
        CONDOR.listed(Completed(0, out, b""))


def test_a_cut_listing_is_refused_though_it_parses() -> None:
    with pytest.raises(SchedulerError):
        CONDOR.listed(replace(printed("listing.json"), cut=True))


def test_colours_and_warnings_before_the_data_do_no_harm() -> None:
    noisy = b"\x1b[1mWARNING: pool is drained\x1b[0m\r\n" + (DATA / "listing.json").read_bytes()
    assert CONDOR.listed(Completed(0, noisy, b"x")) == CONDOR.listed(printed("listing.json"))


def test_the_history_tells_how_jobs_ended() -> None:
    jobs = [JobName(f"{each}.0") for each in range(22, 32)]
    found = CONDOR.looked_up(0, printed("history.json"), jobs)
    ends = {job: (report.state, report.exit) for job, report in found.items()}
    assert ends == {
        "22.0": (JobState.DONE, 0),
        "23.0": (JobState.FAILED, 3),
        "24.0": (JobState.TIMED_OUT, 0),
        "25.0": (JobState.TIMED_OUT, -15),
        "26.0": (JobState.CANCELLED, None),
        "27.0": (JobState.CANCELLED, None),
        "28.0": (JobState.PREEMPTED, -15),
        "31.0": (JobState.NODE_FAILED, None),
    }
    assert found[JobName("31.0")].words == "Job not found at execution machine"
    assert found[JobName("23.0")].host == "127-0-0-1.pool.test"
    assert found[JobName("26.0")].words == "via condor_rm (by user floe)"


def test_values_that_are_expressions_are_no_numbers() -> None:
    ad = {"ClusterId": 1, "ProcId": 0, "JobStatus": 4, "ExitCode": "\\/Expr(1 + 1)\\/"}
    done = Completed(0, json.dumps([ad]).encode() + b"\n", b"")
    assert CONDOR.looked_up(0, done, [JobName("1.0")]) == {
        JobName("1.0"): Report(JobState.ENDED, tag="")
    }


def test_jobs_that_the_history_does_not_know_are_absent() -> None:
    assert CONDOR.looked_up(0, printed("history-none.json"), [JobName("777.0")]) == {}
    with pytest.raises(SchedulerError):
        CONDOR.looked_up(0, Completed(0, b"", b""), [JobName("777.0")])


def test_a_lookup_is_bounded_and_asks_for_jobs_and_their_tags() -> None:
    jobs = [JobName(f"{each // 10}.{each % 10}") for each in range(300)]
    (command,) = CONDOR.lookup(jobs, [SPEC.name, 'x" || true'])
    words = list(command.argv)
    assert words[words.index("-match") + 1] == "200"
    assert "-scanlimit" in words
    assert words[-1].startswith(f'stringListMember(JobBatchName, "{SPEC.name}") && (')
    assert "true" not in words[-1]
    with pytest.raises(SchedulerError):
        CONDOR.lookup([JobName("1.0) || (true")], [])


def test_without_jobs_all_of_the_tags_are_looked_up() -> None:
    (command,) = CONDOR.lookup([], [SPEC.name])
    assert command.argv[-1] == f'stringListMember(JobBatchName, "{SPEC.name}")'
    assert int(command.argv[command.argv.index("-match") + 1]) >= 1000
    assert len(CONDOR.looked_up(0, printed("history.json"), [])) == 9
    assert CONDOR.lookup([], ["no tag"])[0].argv[-1] == "false"


# Cancelling, explaining, limits.


@pytest.mark.parametrize(
    "done",
    [
        printed("removed.txt"),
        failed((DATA / "removed-none.txt").read_text()),
        failed("\nJob 17.0 already marked for removal\n"),
        failed("Job 777.0 not found\n", "Job 26.0 marked for removal\n", 0),
    ],
)
def test_jobs_that_are_gone_are_cancelled_too(done: Completed) -> None:
    CONDOR.cancelled(done)


@pytest.mark.parametrize(
    "done",
    [
        failed("\nPermission denied to remove job 13.0\nJob 77.0 not found\n"),
        failed("Permission denied to remove job 13.0\n", "Job 1.0 marked for removal\n", 0),
        failed("condor_rm: Can't find address for schedd pool@\n"),
        failed("", "", 1),
        failed("", "", -9),
    ],
)
def test_a_refusal_to_cancel_is_told(done: Completed) -> None:
    with pytest.raises(SchedulerError, match="condor_rm: "):
        CONDOR.cancelled(done)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpus", "no slot has GPUs >= 9; machines: 1"),
        ("waiting", "waits for its turn; machines: 1"),
        ("held", "held: Transfer input files failure at access point 127-0-0-1 while sending"),
        ("running", ""),
        ("gone", ""),
        ("gpus-25", "no slot has Memory >= 99999 and GPUs >= 5; machines: 1"),
        ("waiting-25", "waits for its turn; machines: 1"),
        ("held-25", "held: submitted on hold at user's request"),
        ("running-25", ""),
    ],
)
def test_why_a_job_waits_is_one_sentence(name: str, sentence: str) -> None:
    told = CONDOR.described(printed(f"analyze-{name}.txt"))
    assert told.startswith(sentence)
    assert bool(told) == bool(sentence)
    assert "\n" not in told
    assert len(told) <= WORDS_MAX


def test_slots_may_refuse_a_job_themselves() -> None:
    text = (DATA / "analyze-waiting.txt").read_text().replace("1 are able", "0 are able")
    told = CONDOR.described(Completed(0, text.replace("0 reject", "1 reject").encode(), b""))
    assert told == "slots refuse it by their own requirements; machines: 1"
    told = CONDOR.described(Completed(0, text.encode(), b""))
    assert told == "no slot meets all of its requirements together; machines: 1"


def test_the_pool_is_one_queue_as_large_as_its_largest_slots() -> None:
    (queue,) = CONDOR.limits_of(printed("slots.json"))
    assert (queue.cpu_max, queue.gpu_max, queue.memory_bytes_max) == (4, 2, 4000 << 20)
    assert queue.open


def test_a_pool_without_slots_is_closed() -> None:
    (queue,) = CONDOR.limits_of(Completed(0, b"", b""))
    assert not queue.open
    with pytest.raises(SchedulerError, match="Failed to connect"):
        CONDOR.limits_of(failed("Error: Failed to connect to cm\n"))


def test_the_version_is_the_schedd_s_with_the_account_that_may_submit() -> None:
    assert CONDOR.version_of(printed("version.txt")) == "HTCondor 23.9.6, as floe@pool.test"
    with pytest.raises(SchedulerError, match="Can't find address"):
        CONDOR.version_of(printed_down())
    refused = (DATA / "version.txt").read_bytes().replace(b"TRUE", b"FALSE")
    with pytest.raises(SchedulerError, match="may not submit"):
        CONDOR.version_of(Completed(0, refused, b""))


def test_hosts_that_are_of_no_use_are_left_out() -> None:
    lines = lines_of(replace(SPEC, avoid=["a1.example.org", 'b2")', "c3"]))
    (rule,) = [line for line in lines if line.startswith("requirements")]
    assert rule.endswith(' && !stringListIMember(TARGET.Machine, "a1.example.org,c3")')


def test_the_owner_of_a_job_is_told_as_the_history_is_of_everybodys() -> None:
    ad = b'{"ClusterId":7,"ProcId":0,"JobBatchName":"floe-desy-k3x9w2q1","Owner":"ana",'
    ad += b'"JobStatus":%d}'
    [queued] = HTCondor().listed(Completed(0, b"[" + ad % 2 + b"]\n", b"")).values()
    [ended] = HTCondor().looked_up(0, Completed(0, b"[" + ad % 4 + b"]\n", b""), []).values()
    assert queued.owner == ended.owner == "ana"
    for command in (HTCondor().listing(), *HTCondor().lookup([], ["floe-desy-k3x9w2q1"])):
        assert any("Owner" in word.split(",") for word in command.argv)

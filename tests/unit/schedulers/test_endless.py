"""What a command prints takes time and memory by its length, and by nothing that is in it.

Each text makes a reader that looks back, or forth, at every step take minutes.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from schedulers.base import Completed, JobName, PilotSpec, Scheduler, SchedulerError
from schedulers.htcondor import HTCondor
from schedulers.pbs import Pbs
from schedulers.sge import Sge
from schedulers.slurm import Slurm
from schedulers.texts import OUTPUT_BYTES_MAX, harmless
from schedulers.torque import Torque

TAG = b"floe-desy-k3x9w2q1"
CPU_S_MAX = 5.0  # each takes a tenth of it on a slow machine, or minutes
JOB = JobName("7[1].server")
_PBS_JOB = b"Job Id: 7[1].server\n    Job_Name = " + TAG + b"\n    job_state = R\n"
_WRAPPED = b"    Variable_List = a\n" + b"\tx\n" * 1_000_000 + b"\n"

Reader = Callable[[Completed], object]


def within(reader: Reader, done: Completed, cpu_s_max: float = CPU_S_MAX) -> None:
    """It is read, or refused, in decent time; nothing else is raised."""
    began_s = time.process_time()
    with suppress(SchedulerError):
        reader(done)
    assert time.process_time() - began_s < cpu_s_max


def out(text: bytes) -> Completed:
    return Completed(0, text, b"")


def err(text: bytes) -> Completed:
    return Completed(153, b"", text)


@pytest.mark.parametrize("plugin", [Pbs(), Torque()])
def test_a_value_of_many_lines_is_put_together_once(plugin: Pbs) -> None:
    """Somebody else's environment may be of megabytes, and is in the listing of all jobs."""
    within(plugin.listed, out(_PBS_JOB + _WRAPPED))
    within(plugin.limits_of, out(b"Queue: q\n" + _WRAPPED))


def test_many_jobs_that_a_server_does_not_know_are_told_at_once() -> None:
    jobs = [JobName(f"{number}[1].server") for number in range(200)]
    said = err(b"qstat: Unknown Job Id 9.s\n" * 40_000)
    within(lambda done: Pbs().looked_up(0, done, jobs), said)
    within(lambda done: Pbs().looked_up(0, done, [JOB]), err(b"1" + b":" * 1_000_000))


def test_brackets_without_an_end_are_passed_once() -> None:
    row = b"floe|q|up|1:00|4|100|idle|%s\n"
    within(Slurm().limits_of, out(row % (b"(" * 400_000)))


def test_messages_within_messages_are_read_once() -> None:
    for inner, outer in (
        (b"QIM_message", b"JAT_message_list"),
        (b"MES_message", b"SME_message_list"),
    ):
        nested = b"<%s><%s/>" % (outer, inner) * 50_000 + b"</%s>" % outer * 50_000
        text = b"<?xml version='1.0'?><detailed_job_info>%s</detailed_job_info>" % nested
        within(Sge().described, out(text))


def test_numbers_without_an_end_are_refused_or_say_nothing() -> None:
    """Python does not read one of more than 4300 digits."""
    digits = b"9" * 5000
    for text in (
        b"Of %s machines,\n" % digits,
        b"Of 1 machines,\n     %s reject your job\n" % digits,
        b"Of 1 machines,\n[1]  %s  Memory >= 3\n" % digits,
        b"Of 1 machines,\n[1]  0  %s  Memory >= 3\n" % digits,
    ):
        within(HTCondor().described, out(text))


@pytest.mark.parametrize("plugin", [Slurm(), HTCondor(), Sge(), Pbs(), Torque()])
def test_junk_of_the_size_that_we_keep_is_refused_at_once(plugin: Scheduler) -> None:
    """Short lines or colours, as many as fit: seconds of work, and a gigabyte, if they are read."""
    job = {"slurm": "7_1", "htcondor": "7.1", "sge": "7.1"}.get(plugin.name, JOB)
    spec = PilotSpec(TAG.decode(), [], "", count=3)
    readers: list[Reader] = [
        plugin.version_of, plugin.listed, plugin.limits_of, plugin.described,
        lambda done: plugin.submitted(done, spec),
        lambda done: plugin.looked_up(0, done, [JobName(job)]),
        lambda done: plugin.looked_up(1, done, [JobName(job)]),
    ]  # fmt: skip
    for piece in (b"ab\n", b"\x1b[", b"\x1b[0m\n"):
        done = out(piece * (OUTPUT_BYTES_MAX // len(piece)))
        for reader in readers:
            began_s = time.process_time()
            with pytest.raises(SchedulerError, match="printed"):
                reader(done)
            assert time.process_time() - began_s < CPU_S_MAX


def test_documents_of_endless_parts_are_not_built() -> None:
    for text, reader in (
        (b"[" + b"{}," * 4_000_000 + b"{}]\n", HTCondor().listed),
        (b'{"pbs_server":"x","Jobs":{"a":[' + b"{}," * 4_000_000 + b"{}]}}\n", Pbs().listed),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(SchedulerError):
                reader(out(text))
            assert tracemalloc.get_traced_memory()[1] < 100 << 20
        finally:
            tracemalloc.stop()


def test_words_for_people_are_cut_before_they_are_cleaned() -> None:
    within(lambda done: harmless(done.out, 80), out(b"\x1b[" * 16_000_000), 0.5)
    assert harmless(b"a\x1b[1mb" + b"c" * 500, 8) == "abccccc…"


def test_a_job_with_a_number_that_no_schedd_gives_is_refused() -> None:
    ad = b'[{"ClusterId":%s,"ProcId":%s,"JobBatchName":"' + TAG + b'","JobStatus":1}]\n'
    for cluster, number in ((b"-5", b"0"), (b"5", b"-1"), (b"9" * 30, b"0")):
        with pytest.raises(SchedulerError, match="without an id"):
            HTCondor().listed(out(ad % (cluster, number)))

"""A listing of ten thousand pilots, as each batch system prints it: what reading it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from schedulers.base import Completed, Scheduler
from schedulers.htcondor import HTCondor
from schedulers.pbs import Pbs
from schedulers.sge import Sge
from schedulers.slurm import Slurm
from schedulers.torque import Torque

PILOTS = 10_000
TRIES = 5  # the quickest counts: the garbage of others may be collected in one
DATA = Path(__file__).parents[1] / "tests/data"  # what real ones printed


def _sample(name: str, first: str, last: str) -> tuple[str, str, str]:
    """One job of a sample, and what is before and after all of them."""
    text = (DATA / name).read_text()
    start = text.index(first)
    end = text.index(last, start) + len(last)
    return text[:start], text[start:end], text[end:]


def _slurm() -> str:
    return "".join(f"floe|7_{no}|RUNNING|node{no}|None|floe-a1-k3x9w2q1\n" for no in range(PILOTS))


def _htcondor() -> str:
    _, job, _ = _sample("htcondor/listing.json", "{", "\n}\n")
    jobs = (job.replace('"ProcId": 0', f'"ProcId": {no}') for no in range(PILOTS))
    return f"[\n{','.join(jobs)}]\n"


def _sge() -> str:
    head, job, _ = _sample("sge/listing.xml", "<job_list", "</job_list>\n")
    jobs = (job.replace("<tasks>1<", f"<tasks>{no}<") for no in range(1, PILOTS + 1))
    return f"{head}{''.join(jobs)}</queue_info><job_info/></job_info>\n"


def _openpbs(client: str) -> str:
    text = (DATA / f"openpbs/running.{client}.json").read_text()
    head, mark, job = text.partition('"173.pbshost"')
    job = mark + job.rstrip("}\n\t ") + "}"
    jobs = (job.replace("173.", f"{no}.") for no in range(PILOTS))
    return f"{head}{','.join(jobs)}\n}}\n}}\n"


def _torque() -> str:
    _, job, _ = _sample("torque/qstat-f.txt", "Job Id:", "\n\n")
    return "".join(job.replace("\t26\n", f"\t{no}\n") for no in range(PILOTS))


LISTINGS: dict[str, tuple[Scheduler, Callable[[], str]]] = {
    "slurm": (Slurm(), _slurm),
    "htcondor": (HTCondor(), _htcondor),
    "sge": (Sge(), _sge),
    "openpbs_release": (Pbs(), lambda: _openpbs("release")),
    "openpbs_master": (Pbs(), lambda: _openpbs("master")),
    "torque": (Torque(), _torque),
}


def listings() -> dict[str, float]:
    """Seconds of processor time for each."""
    found = {}
    for name, (plugin, text) in LISTINGS.items():
        done = Completed(0, text().encode(), b"")
        costs = []
        for _ in range(TRIES):
            began = time.process_time()
            jobs = plugin.listed(done)
            costs.append(time.process_time() - began)
            assert len(jobs) == PILOTS, (name, len(jobs))
        found[f"listing_10k_{name}_s"] = min(costs)
    return found

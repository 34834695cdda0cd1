"""How the fake OpenPBS shows its jobs: the text of qstat -f, and two kinds of its JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

from tests.fakes.openpbs_server import QUEUES, SERVER, Job, Server

VERSION = "23.06.06"
WIDTH = 78
Value = str | int | dict[str, str]


def attributes(server: Server, job: Job) -> dict[str, Value]:
    """What qstat -f shows of a job, in its order."""
    found: dict[str, Value] = {
        "Job_Name": job.name, "Job_Owner": f"{job.owner}@{SERVER}", "job_state": job.state,
        "queue": job.queue, "server": SERVER, "ctime": _date(job.submitted),
        "Error_Path": f"{SERVER}:{job.error}",
    }  # fmt: skip
    if job.state in "RE" or (job.over and job.exit is not None and not job.array):
        found |= {"exec_host": f"{SERVER}/0*{job.ncpus}", "session_id": 4000 + job.number}
    if job.index is None:
        found["Hold_Types"] = job.hold
    found |= {"mtime": _date(job.changed), "Output_Path": f"{SERVER}:{job.output}", "Priority": 0}
    found["Rerunable"] = "True"
    wants = {"ncpus": str(job.ncpus), "nodect": "1", "select": f"1:ncpus={job.ncpus}"}
    if job.walltime_s:
        hours, rest = divmod(job.walltime_s, 3600)
        wants["walltime"] = f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    found |= {"Resource_List": wants, "substate": job.substate, "Variable_List": job.variables}
    if job.comment:
        found["comment"] = job.comment
    status = _shown_status(server, job)
    if status is not None:
        found |= {"Stageout_status": 1, "Exit_status": status}
    if job.array:
        found |= _array(server, job)
    elif job.index is not None and (job.state in "RE" or job.over):
        found |= {"array_id": f"{job.number}[].{SERVER}", "array_index": job.index}
    return {**found, "project": "_pbs_project_default"}


def _shown_status(server: Server, job: Job) -> int | None:
    """A deleted subjob shows the status of its array."""
    if job.index is not None and job.substate == 91:
        array = server.jobs.get(f"{job.number}[]")
        return array.exit if array else None
    return job.exit


def _array(server: Server, job: Job) -> dict[str, Value]:
    parts = server.subjobs(job)
    count = {
        "Queued": sum(part.state in "QH" for part in parts),
        "Running": sum(part.state == "R" for part in parts),
        "Exiting": sum(part.state == "E" for part in parts),
        "Expired": sum(part.over for part in parts),
    }
    left = ",".join(str(part.index) for part in parts if part.state in "QH")
    return {
        "array": "True",
        "array_state_count": " ".join(f"{key}:{value}" for key, value in count.items()),
        "array_indices_submitted": f"0-{job.size - 1}",
        "array_indices_remaining": left or "-",
    }


def _date(seconds: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(seconds))


def as_text(server: Server, jobs: list[Job]) -> str:
    """qstat -f: long values are wrapped, at commas where they can be."""
    out = []
    for job in jobs:
        out.append(f"Job Id: {job.key}.{SERVER}\n")
        for name, value in attributes(server, job).items():
            if name == "Variable_List" and isinstance(value, dict):
                out.append(_wrapped(name, ",".join(f"{k}={v}" for k, v in value.items())))
            elif isinstance(value, dict):
                out += [_wrapped(f"{name}.{key}", inner) for key, inner in value.items()]
            else:
                out.append(_wrapped(name, str(value)))
        out.append("\n")
    return "".join(out)


def _wrapped(name: str, value: str) -> str:
    line, out = f"    {name} = ", []
    for part in re.findall(r"[^,]*,|[^,]+$", value) or [""]:
        if len(line) + len(part) > WIDTH and not line.endswith(" = "):
            out.append(line)
            line = "\t"
        line += part
        while len(line) > WIDTH:
            out.append(line[:WIDTH])
            line = "\t" + line[WIDTH:]
    return "\n".join([*out, line]) + "\n"


def as_json(server: Server, jobs: list[Job]) -> str:
    """qstat -f -F json, as the release or the master branch prints it."""
    head: dict[str, object] = {"timestamp": int(time.time()), "pbs_version": VERSION}
    head["pbs_server"] = SERVER
    if jobs:
        head["Jobs"] = {f"{job.key}.{SERVER}": attributes(server, job) for job in jobs}
    release = server.settings.flavour == "release"
    lines = _release(head, 1) if release else _master(head, 1)
    return "{\n" + ",\n".join(lines) + "\n}" + ("" if release and not jobs else "\n")


def _release(table: dict[str, object], depth: int) -> Iterator[str]:
    """What looks like a number to C is printed as it is; an empty variable swallows the next."""
    pad, swallow = "    " * depth, ""
    for key, value in table.items():
        if swallow:
            yield f'{pad}"{swallow}":{json.dumps(f",{key}={value}")}'
            swallow = ""
        elif isinstance(value, dict):
            yield f'{pad}"{key}":{{\n' + ",\n".join(_release(value, depth + 1)) + f"\n{pad}}}"
        elif value == "":
            swallow = key
        else:
            yield f'{pad}"{key}":{_number_or_string(str(value))}'
    if swallow:
        yield f'{pad}"{swallow}":""'


def _number_or_string(value: str) -> str:
    try:
        number = float(value) if "_" not in value and value == value.strip() else None
    except ValueError:
        number = None
    if number is None:
        return json.dumps(value, ensure_ascii=False)
    return str(number) if "e" in value.lower() else value


def _master(table: dict[str, object], depth: int) -> Iterator[str]:
    pad = "\t" * depth
    for key, value in table.items():
        if isinstance(value, dict):
            inner = ",\n".join(_master(value, depth + 1))
            yield f'{pad}"{key}":\t{{\n{inner}\n{pad}}}'
        else:
            number = re.fullmatch(r"-?(0|[1-9]\d*)", str(value))
            yield f'{pad}"{key}":\t{value if number else json.dumps(str(value))}'


def of_server() -> str:
    """qstat -B -f."""
    return (
        f"Server: {SERVER}\n    server_state = Active\n    server_host = {SERVER}\n"
        f"    default_queue = workq\n    pbs_version = {VERSION}\n\n"
    )


def of_queues() -> str:
    """qstat -Q -f."""
    out = []
    for name, time_max in QUEUES.items():
        limit = f"    resources_max.walltime = {time_max}\n" if time_max else ""
        out.append(f"Queue: {name}\n    queue_type = Execution\n    total_jobs = 0\n{limit}"
                   "    enabled = True\n    started = True\n\n")  # fmt: skip
    return "".join(out)

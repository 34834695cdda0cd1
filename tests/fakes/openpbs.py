"""qsub, qstat, qdel, qhold and qrls of a fake OpenPBS 23.06 on this machine, which runs its jobs.

There is no package of OpenPBS to test with. This behaves as a single-host server was seen to, traps
included: see openpbs_show.py for what its clients print. `install` makes the programs.
"""

from __future__ import annotations

import getopt
import getpass
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.fakes import openpbs_show as show
from tests.fakes.openpbs_server import (
    QUEUES,
    ROOT,
    SERVER,
    Job,
    Server,
    Settings,
    run_job,
    server,
)

FOLDER = "FLOE_TEST_PBS"  # environment: the folder of the state
OWNER = "FLOE_TEST_PBS_OWNER"  # and who is asking, if not this user
USAGE, REFUSED, UNKNOWN, FINISHED, HELD_UP = 2, 162, 153, 35, 255
CHUNK = {"ncpus", "mem", "ngpus", "mpiprocs", "ompthreads", "vmem"}


class Fault(Exception):
    """Exit status and words of a command that fails."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def install(folder: Path, settings: Settings) -> Path:
    """Make the state and the programs; gives the folder for PATH. FOLDER goes to `folder`."""
    configure(folder, settings)
    programs = folder / "bin"
    programs.mkdir()
    for name in COMMANDS:
        path = programs / name
        program = f"{sys.executable} -m tests.fakes.openpbs {name}"
        path.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {program} "$@"\n')
        path.chmod(0o755)
    return programs


def configure(folder: Path, settings: Settings) -> None:
    """Change the settings of a server that runs."""
    fresh = folder / "settings.new"
    fresh.write_text(json.dumps(asdict(settings)))
    fresh.replace(folder / "settings.json")


def qsub(here: Server, words: Sequence[str]) -> str:
    try:
        options, rest = getopt.getopt(words, "N:S:j:m:o:e:J:r:l:q:A:P:v:W:k:V:hz")
    except getopt.GetoptError as error:
        raise Fault(USAGE, f"qsub: {error.msg}\nusage: qsub [-a date_time] ...") from None
    if len(rest) > 1:
        raise Fault(USAGE, "usage: qsub [-a date_time] ...")
    said = dict(options)
    script = Path(rest[0]).read_bytes() if rest else sys.stdin.buffer.read()
    if b"\r\n" in script:
        raise Fault(1, "qsub: script contains cr, lf")
    number = here.number()
    job = _job(here, number, said)
    _ask(job, [value for option, value in options if option == "-l"])
    path = here.folder / f"script-{number}"
    path.write_bytes(script)
    job.script = str(path)
    here.add(job)
    if "-h" in said:
        _hold(here, job)
    here.schedule()
    return f"{job.key}.{SERVER}\n"


def _job(here: Server, number: int, said: dict[str, str]) -> Job:
    name, queue = said.get("-N", "STDIN"), said.get("-q", "workq")
    if not re.fullmatch(r"[!-~]{1,230}", name):
        raise Fault(USAGE, "qsub: illegal -N value")
    if queue not in QUEUES:
        raise Fault(170, "qsub: Unknown queue")
    size = 0
    if "-J" in said:
        match = re.fullmatch(r"0-(\d+)", said["-J"])
        if not match or match[1] == "0":
            raise Fault(USAGE, "qsub: illegal -J value")
        if said.get("-r") == "n":
            raise Fault(168, "qsub: Job array must be rerunable")
        size = int(match[1]) + 1
    home, here_ = os.path.expanduser("~"), os.getcwd()
    index = ".^array_index^" if size else ""
    output = os.path.join(here_, said.get("-o", f"{name}.o{number}{index}"))
    error = os.path.join(here_, said.get("-e", f"{name}.e{number}{index}"))
    variables = {"PBS_O_HOME": home, "PBS_O_LANG": "C", "PBS_O_SHELL": "/bin/bash",
                 "PBS_O_INTERACTIVE_ENCRYPT_METHOD": "", "PBS_O_WORKDIR": here_}  # fmt: skip
    for word in filter(None, said.get("-v", "").split(",")):
        key, _, value = word.partition("=")
        variables[key] = value.replace('"', "")
    owner = os.environ.get(OWNER) or getpass.getuser()
    shell = said.get("-S", "/bin/sh")
    return Job(number, name, owner, shell, "", output, error,
               size=size, queue=queue, variables=variables)  # fmt: skip


def _ask(job: Job, wanted: Sequence[str]) -> None:
    """Resources of -l select=1:ncpus=2:mem=50mb,walltime=1:00:00."""
    for word in ",".join(wanted).split(","):
        name, _, value = word.partition("=")
        if name == "select":
            for part in value.split(":")[1:]:
                inner, _, amount = part.partition("=")
                if inner not in CHUNK:
                    raise Fault(187, f"qsub: Unknown resource: {inner}")
                if inner in ("ncpus", "ngpus"):
                    setattr(job, inner, _whole(amount))
        elif name == "walltime":
            seconds = 0
            for digits in value.split(":"):
                seconds = seconds * 60 + _whole(digits)
            job.walltime_s = seconds
            limit = QUEUES[job.queue]
            if limit and seconds > 600:
                raise Fault(188, "qsub: Job violates queue and/or server resource limits")
        elif name not in ("", "place"):
            raise Fault(187, f"qsub: Unknown resource: {name}")


def _whole(text: str) -> int:
    if not text.isdigit():
        raise Fault(166, "qsub: Illegal attribute or resource value")
    return int(text)


def qstat(here: Server, words: Sequence[str]) -> str:
    try:
        options, ids = getopt.getopt(words, "ftxF:BQu:awn")
    except getopt.GetoptError as error:
        raise Fault(USAGE, f"qstat: {error.msg}\nusage: qstat [-f] ...") from None
    said = dict(options)
    as_json = said.get("-F") == "json"
    if ("-u" in said and as_json) or "-f" not in said:
        raise Fault(USAGE, "usage: qstat [-f] [-J] [-p] [-t] [-x] ...")
    if "-B" in said or "-Q" in said:
        return show.of_server() if "-B" in said else show.of_queues()
    note = ""
    if "-x" in said and not here.settings.history:
        note = "qstat: job history is not enabled at this server\n"
    if as_json and here.settings.flavour == "master":
        ids = ids[:1]
    found, faults = _chosen(here, ids, "-x" in said, "-t" in said)
    out = show.as_json(here, found) if as_json else note + show.as_text(here, found)
    if faults and not note:
        sys.stdout.write(out)
        raise Fault(faults[-1].status, "\n".join(fault.words for fault in faults))
    return out


def _chosen(
    here: Server, ids: Sequence[str], history: bool, expand: bool
) -> tuple[list[Job], list[Fault]]:
    """Jobs in the order asked for, and what is wrong with the others."""
    found: list[Job] = []
    faults: list[Fault] = []
    if not ids:
        found = [job for job in here.jobs.values() if job.index is None]
        found = [job for job in found if history or job.state != "F"]
    for name in ids:
        job = here.jobs.get(_key(name))
        if job is None:
            faults.append(Fault(UNKNOWN, f"qstat: Unknown Job Id {_full(name)}"))
        elif job.state == "F" and not history:
            words = "Job has finished, use -x or -H to obtain historical job information"
            faults.append(Fault(FINISHED, f"qstat: {_full(name)} {words}"))
        else:
            found.append(job)
    if expand:
        found = [each for job in found for each in (job, *here.subjobs(job))]
    return found, faults


def _key(name: str) -> str:
    return name.removesuffix(f".{SERVER}")


def _full(name: str) -> str:
    return f"{_key(name)}.{SERVER}"


def qdel(here: Server, words: Sequence[str]) -> str:
    faults = list(_delete(here, words))
    here.schedule()
    if faults:
        here.save()
        raise Fault(faults[-1].status, "\n".join(fault.words for fault in faults))
    return ""


def _delete(here: Server, ids: Sequence[str]) -> Iterator[Fault]:
    for name in ids:
        job = here.jobs.get(_key(name))
        if job is None:
            yield Fault(UNKNOWN, f"qdel: Unknown Job Id {_full(name)}")
        elif job.over:
            yield Fault(FINISHED, f"qdel: Job has finished {_full(name)}")
        else:
            for part in here.subjobs(job) if job.array else [job]:
                if part.state in "QH":
                    part.end(91, None, "terminated")
                elif not part.over:
                    (here.folder / f"deleted-{part.key}").touch()


def _each(here: Server, ids: Sequence[str], command: str) -> Iterator[Job]:
    for name in ids:
        job = here.jobs.get(_key(name))
        if job is None:
            raise Fault(UNKNOWN, f"{command}: Unknown Job Id {_full(name)}")
        yield job


def _hold(here: Server, job: Job) -> None:
    for part in (job, *here.subjobs(job)):
        if part.state == "Q":
            part.state, part.substate, part.hold = "H", 20, "u"


def qhold(here: Server, words: Sequence[str]) -> str:
    for job in _each(here, words, "qhold"):
        _hold(here, job)
    return ""


def qrls(here: Server, words: Sequence[str]) -> str:
    for job in _each(here, words, "qrls"):
        for part in (job, *here.subjobs(job)):
            if part.state == "H":
                part.state, part.substate, part.hold = "Q", 10, "n"
    here.schedule()
    return ""


COMMANDS: dict[str, Callable[[Server, Sequence[str]], str]] = {
    "qsub": qsub, "qstat": qstat, "qdel": qdel, "qhold": qhold, "qrls": qrls,
}  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Of a program, or of the process that runs a job."""
    if words[0] == "run":
        run_job(Path(words[1]), words[2])
        return 0
    command, folder = words[0], Path(os.environ[FOLDER])
    settings = Settings(**json.loads((folder / "settings.json").read_text()))
    while settings.hung:
        time.sleep(3600)
    if settings.down:
        print(f"Connection refused\n{command}: cannot connect to server {SERVER} (errno=111)",
              file=sys.stderr)  # fmt: skip
        if command == "qstat" and "json" in words:
            with server(folder) as here:
                sys.stdout.write(show.as_json(here, []))
        return HELD_UP if command == "qstat" else REFUSED
    fault: Fault | None = None
    with server(folder) as here:
        try:
            sys.stdout.write(COMMANDS[command](here, words[1:]))
        except Fault as error:
            fault = error
    if fault is not None:
        print(fault.words, file=sys.stderr)
        return fault.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

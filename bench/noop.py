"""No-op units against xargs, chains against flat tasks, the second 100,000 against the first."""

from __future__ import annotations

import statistics
import subprocess
import time

from bench.site import Site, process_cpu_s, site

UNITS = 20_000
PIECES = 5  # that make 100,000
CHECKS = """
import os, resource, sys
assert os.getpgrp() == os.getpid(), "no process group of its own"
assert os.listdir(".") == [], "the scratch folder is not empty"
assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0, "core dumps are not limited"
assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] > 0, "files are not limited"
print("captured", os.environ["FLOE_JOB"])
"""


def xargs_s(count: int = UNITS) -> float:
    """Wall seconds that xargs needs to run /bin/true so many times, two at a time."""
    began = time.monotonic()
    subprocess.run(f"yes | head -n {count} | xargs -P2 -n1 /bin/true", shell=True, check=True)
    return time.monotonic() - began


def floe_s(here: Site, name: str, *arguments: str) -> float:
    """Wall seconds from `floe submit` until the last unit is settled."""
    began = time.monotonic()
    here.run("submit", "--name", name, *arguments)
    here.wait(name)
    return time.monotonic() - began


def check_isolation(here: Site) -> None:
    """Units whose payload checks what every unit is promised, and whose output is read back."""
    here.run("submit", "--name", "checked", "--jobs", "200", "--", "python3", "-c", CHECKS)
    here.wait("checked")
    assert "captured 7" in here.run("logs", "checked/7/main")


def noop(rounds: int = 3) -> dict[str, float]:
    ratios, node_us, pilot_us = [], [], []
    with site() as here:
        floe_s(here, "warm", "--jobs", "500", "--", "/bin/true")
        check_isolation(here)
        for number in range(rounds):
            peer = xargs_s()
            node, pilots = here.cpu_s(), {pid: process_cpu_s(pid) for pid in here.pilots()}
            ours = floe_s(here, f"noop-{number}", "--jobs", str(UNITS), "--", "/bin/true")
            node_us.append((here.cpu_s() - node) / UNITS * 1e6)
            used = sum(process_cpu_s(pid) - was for pid, was in pilots.items())
            pilot_us.append(used / UNITS * 1e6)
            ratios.append(peer / ours)
    return {
        "noop_vs_xargs": statistics.median(ratios),
        "noop_per_s": UNITS / ours,
        "xargs_per_s": UNITS / peer,
        "node_cpu_us_per_unit": statistics.median(node_us),
        "pilot_cpu_us_per_unit": statistics.median(pilot_us),
    }


def second_100k() -> dict[str, float]:
    """One site's second 100,000 units beside another's first, piece by piece in turn.

    So both meet the same load: whatever else the machine does slows the one as it slows the other.
    Medians of the time of the first over that of the second, and the same of the node's CPU.
    """
    took, cpu = [], []
    with site() as old, site() as new:
        floe_s(old, "first", "--jobs", str(PIECES * UNITS), "--", "/bin/true")
        floe_s(new, "warm", "--jobs", "500", "--", "/bin/true")
        for number in range(PIECES):
            pair = (new, old) if number % 2 else (old, new)
            spent = {here: _piece(here, f"piece-{number}") for here in pair}
            took.append(spent[new][0] / spent[old][0])
            cpu.append(spent[new][1] / spent[old][1])
    return {
        "second_100k_vs_first": statistics.median(took),
        "second_100k_node_cpu_vs_first": statistics.median(cpu),
    }


def _piece(here: Site, name: str) -> tuple[float, float]:
    """Wall seconds and the node's CPU seconds of so many units."""
    before_s = here.cpu_s()
    return floe_s(here, name, "--jobs", str(UNITS), "--", "/bin/true"), here.cpu_s() - before_s


CHAIN = """floe = 1
name = "{name}"
jobs = 1000
[[task]]
name = "a"
[[task.module]]
run = ["/bin/true"]
"""
LINK = """[[task]]
name = "{task}"
after = ["{before}"]
[[task.module]]
run = ["/bin/true"]
"""


def chain(rounds: int = 3) -> dict[str, float]:
    """1,000 jobs x chains of four against 4,000 flat units, in turn."""
    ratios = []
    with site() as here:
        floe_s(here, "warm", "--jobs", "500", "--", "/bin/true")
        for number in range(rounds):
            text = CHAIN.format(name=f"chain-{number}") + "".join(
                LINK.format(task=task, before=before) for before, task in ("ab", "bc", "cd")
            )
            path = here.home.parent / "chain.toml"
            path.write_text(text)
            flat = floe_s(here, f"flat-{number}", "--jobs", "4000", "--", "/bin/true")
            began = time.monotonic()
            here.run("submit", str(path))
            here.wait(f"chain-{number}")
            ratios.append(flat / (time.monotonic() - began))
    return {"chain_vs_flat": statistics.median(ratios)}

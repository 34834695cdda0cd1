"""No-op units against xargs, chains against flat tasks, the second 100,000 against the first."""

from __future__ import annotations

import statistics
import subprocess
import time

from bench.site import Site, process_cpu_s, site

UNITS = 20_000
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
    """Wall time of the first over that of the second, and the same of the node's CPU alone."""
    took_s, cpu_s = [], []
    with site() as here:
        for name in ("first", "second"):
            before_s = here.cpu_s()
            took_s.append(floe_s(here, name, "--jobs", "100000", "--", "/bin/true"))
            cpu_s.append(here.cpu_s() - before_s)
    return {
        "second_100k_vs_first": took_s[0] / took_s[1],
        "second_100k_node_cpu_vs_first": cpu_s[0] / cpu_s[1],
    }


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

"""No-op units on a disk whose sync takes 10 ms, against the same disk as it is."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from bench.noop import floe_s
from bench.site import site

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
#define SLOW(name) int name(int fd) { \
    static int (*real)(int); if (!real) real = dlsym(RTLD_NEXT, #name); \
    usleep(10000); return real(fd); }
SLOW(fsync) SLOW(fdatasync)
"""
UNITS = 20_000


def build(folder: str) -> str:
    """Compile the shim; its path. It delays every sync of the process it is loaded into."""
    source, library = Path(folder, "slow.c"), Path(folder, "slow.so")
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", library, source, "-ldl"], check=True)
    return str(library)


def slow_disk(rounds: int = 3) -> dict[str, float]:
    if not shutil.which("cc"):
        print("slow_disk: skipped, no C compiler")
        return {}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        shim = build(folder)
        with site() as fast, site(preload=shim) as slow:
            for here in (fast, slow):
                floe_s(here, "warm", "--jobs", "500", "--", "/bin/true")
            for number in range(rounds):
                words = (f"noop-{number}", "--jobs", str(UNITS), "--", "/bin/true")
                ratios.append(floe_s(fast, *words) / floe_s(slow, *words))
    return {"slow_disk_vs_fast": statistics.median(ratios)}

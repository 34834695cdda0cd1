"""qsub, qstat and qdel in Torque's style in front of Slurm: Debian's slurm-wlm-torque, unpacked.

Its package cannot be installed beside Grid Engine's, which has programs of the same names.
`python -m tests.clusters.slurm_pbs.commands` makes them before any test asks for them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clusters.place import ClusterError, alone, kept, missing

PACKAGES = ("slurm-wlm-torque", "libslurm-perl", "libslurmdb-perl", "libswitch-perl")
PROGRAMS = ("apt-get", "dpkg-deb", "patchelf", "perl")
COMMANDS = ("qsub", "qstat", "qdel", "qhold", "qrls", "pbsnodes")
SLURMS = ("sbatch", "salloc", "srun", "scancel", "squeue", "scontrol", "sinfo")
CACHE = kept() / "slurm-pbs"


def lacking() -> str:
    """What this machine lacks to make them, in words; "" if nothing."""
    return "" if (CACHE / "bin/qsub").exists() else missing(PROGRAMS)


def programs() -> Path:
    """The folder for PATH; made once, and kept in the cache. Raises ClusterError."""
    with alone(CACHE.with_suffix(".lock")):
        if (CACHE / "bin/qsub").exists():
            return CACHE / "bin"
        fresh = Path(tempfile.mkdtemp(prefix="slurm-pbs-", dir=CACHE.parent))
        try:
            _unpack(fresh)
            _wrap(fresh)
            fresh.chmod(0o755)
            fresh.rename(CACHE)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return CACHE / "bin"


def _run(*argv: str, cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, check=False, timeout=300)
    if done.returncode:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")[-1000:]
        raise ClusterError(f"{' '.join(argv)}: {said}")
    return done.stdout.decode("utf-8", "replace")


def _libraries(folder: Path) -> list[str]:
    """Slurm's library, whose package is named by a version."""
    said = _run("env", "LC_ALL=C", "apt-cache", "depends", "libslurm-perl", cwd=folder)
    return re.findall(r"Depends: (libslurm\d\w*)", said)


def _unpack(tree: Path) -> None:
    debs = tree / "debs"
    debs.mkdir()
    download = ("apt-get", "-qq", "-o", "APT::Sandbox::User=", "download")
    try:
        _run(*download, *PACKAGES, *_libraries(debs), cwd=debs)
    except ClusterError:  # lists of packages age
        _run("apt-get", "-qq", "update", cwd=debs)
        _run(*download, *PACKAGES, *_libraries(debs), cwd=debs)
    for deb in debs.glob("*.deb"):
        _run("dpkg-deb", "-x", str(deb), str(tree), cwd=tree)
    shutil.rmtree(debs)


def _wrap(tree: Path) -> None:
    """Let them find their libraries, and Slurm's commands, which they seek beside themselves."""
    [perl] = [path.relative_to(tree) for path in tree.glob("usr/lib/*/perl5/*") if path.is_dir()]
    library = CACHE / perl.parents[1]
    for binary in (tree / perl).rglob("*.so"):
        _run("patchelf", "--force-rpath", "--set-rpath", str(library), str(binary), cwd=tree)
    places = f"{CACHE / perl}:{CACHE / 'usr/share/perl5'}"
    (tree / "bin").mkdir()
    for name in COMMANDS:
        if not (tree / "usr/bin" / name).exists():
            continue
        path = tree / "bin" / name
        path.write_text(f'#!/bin/sh\nPERL5LIB={places} exec perl {CACHE}/usr/bin/{name} "$@"\n')
        path.chmod(0o755)
    for name in SLURMS:
        link = tree / "usr/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/bin/{name}")


if __name__ == "__main__":
    try:
        print(f"Torque's commands are in {programs()}")
    except ClusterError as error:
        sys.exit(str(error))

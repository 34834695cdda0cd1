"""`make demo`: one site, a real physics dataset, from nothing to a picture.

Every step is a `floe` command that a user could type; each is printed before it runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "build" / "demo"
FLOE = str(Path(sys.executable).with_name("floe"))
ENVIRONMENT = dict(os.environ, FLOE_HOME=str(BASE / "home"))


def floe(*arguments: str, check: bool = True, shown: bool = True) -> int:
    """Run one command as a user would; exit with its status when it fails."""
    if shown:
        click.secho(f"\n$ floe {' '.join(arguments)}", bold=True)
    status = subprocess.run([FLOE, *arguments], env=ENVIRONMENT, cwd=ROOT, check=False).returncode
    if check and status:
        raise SystemExit(status)
    return status


def clean() -> None:
    """Take down and remove what an earlier demo left."""
    if (BASE / "home").exists():
        argv = [FLOE, "down", "--pilots"]
        subprocess.run(argv, env=ENVIRONMENT, capture_output=True, check=False, timeout=60)
    shutil.rmtree(BASE, ignore_errors=True)
    BASE.mkdir(parents=True)


def main() -> None:
    began = time.monotonic()
    clean()
    key = BASE / "id_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(key)], check=True
    )
    floe("init", "--name", "demo", "--key", os.path.relpath(key, ROOT))
    floe("up", "--detach")
    try:
        floe("submit", "examples/atmospheric/atmospheric.toml")
        floe("submit", "examples/atmospheric/spectra.toml")
        floe("watch", "atmospheric")
        floe("wait", "spectra", "--timeout", "120")
        floe("show", "atmospheric")
        floe("show", "spectra/0/merge")
        floe("fetch", "spectra", "--to", os.path.relpath(BASE / "spectra", ROOT))
        floe("verify")
    finally:
        floe("down", "--pilots")
    picture = BASE / "spectra" / "0" / "merge" / "spectra.png"
    print(f"\nDone in {time.monotonic() - began:.0f} s. The picture: {picture}")


if __name__ == "__main__":
    main()

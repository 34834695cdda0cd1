"""`make mesh-demo`: five sites on this machine share a dataset; the one that took it is lost.

All five run units of it. Outputs that only the lost disk held, of its last seconds, are made again
elsewhere. Every step is a `floe` command that a user could type; each is printed before it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "build" / "mesh-demo"
FLOE = str(Path(sys.executable).with_name("floe"))
SITES = ("madison", "desy", "nersc", "aachen", "ulb")
LOST, LEFT = SITES[0], SITES[1]
# Real meshes wait half an hour before they replace a leader that is silent, and an hour before
# its units go to others; a demonstration has not that much time.
HURRY = 'vote_after = "5s"\nlost_after = "10s"\n'
DONE_S_MAX = 600


def environment(site: str) -> dict[str, str]:
    return dict(os.environ, FLOE_HOME=str(BASE / site / "home"))


def floe(site: str, *arguments: str, shown: bool = True, check: bool = True, told: str = "") -> int:
    """Run one command at a site, as a user would; exit with its status when it fails."""
    if shown:
        click.secho(f"\n{site}$ {told or ' '.join(['floe', *arguments])}", bold=True)
    done = subprocess.run([FLOE, *arguments], env=environment(site), cwd=ROOT, check=False)
    if check and done.returncode:
        raise SystemExit(done.returncode)
    return done.returncode


def ask(site: str, *arguments: str) -> Any:
    """What a command prints as JSON."""
    argv = [FLOE, *arguments, "--json"]
    done = subprocess.run(argv, env=environment(site), cwd=ROOT, capture_output=True, check=True)
    return json.loads(done.stdout)


def clean() -> None:
    """Take down and remove what an earlier demo left."""
    for site in SITES:
        if (BASE / site / "home").exists():
            floe(site, "down", "--pilots", shown=False, check=False)
    shutil.rmtree(BASE, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found(site: str) -> None:
    """Make a site, with an admin of its own, and start it."""
    folder = BASE / site
    folder.mkdir(parents=True)
    key = folder / "id_ed25519"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", site, "-f", str(key)]
    subprocess.run(argv, check=True)
    words = ["--name", site, "--key", os.path.relpath(key, ROOT), "--slots", "1"]
    floe(site, "init", *words, "--mesh-listen", "127.0.0.1", "--mesh-port", str(free_port()))
    with (folder / "home" / "config.toml").open("a", encoding="utf-8") as file:
        file.write(HURRY)
    floe(site, "up", "--detach")


def join(site: str) -> None:
    """Let a site into the mesh, by a token that its sponsor prints."""
    click.secho(f"\n{LOST}$ floe mesh invite", bold=True)
    argv = [FLOE, "mesh", "invite"]
    token = subprocess.run(
        argv, env=environment(LOST), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"{token[:60]}…")
    floe(site, "mesh", "join", token, told=f"floe mesh join {token[:40]}…")


def lose(site: str) -> None:
    """Let a site be gone for good: its node, its pilots, its disk."""
    click.secho(f"\n{site} is lost: its node, its pilots and its disk", bold=True)
    home = bytes(BASE / site)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            place = (folder / "environ").read_bytes()
            if (home in words or home in place) and int(folder.name) != os.getpid():
                os.kill(int(folder.name), signal.SIGKILL)
    shutil.rmtree(BASE / site)


def half_done() -> bool:
    counts = ask(LOST, "show", "atmospheric")["counts"]
    return bool(counts["settled"] * 2 >= counts["units"])


def main() -> None:
    began = time.monotonic()
    clean()
    try:
        for site in SITES:
            found(site)
        for site in SITES[1:]:
            join(site)
        floe(LOST, "mesh")
        floe(LOST, "submit", "--wait-stored", "3", "examples/atmospheric/atmospheric.toml")
        floe(LOST, "submit", "--wait-stored", "3", "examples/atmospheric/spectra.toml")
        while not half_done():
            time.sleep(0.5)
        floe(LOST, "show", "atmospheric")
        lose(LOST)
        floe(LEFT, "wait", "spectra", "--timeout", str(DONE_S_MAX))
        floe(LEFT, "mesh")
        floe(LEFT, "mesh", "shards")
        floe(LEFT, "show", "atmospheric")
        floe(LEFT, "show", "spectra/0/merge")
        floe(LEFT, "fetch", "spectra", "--to", os.path.relpath(BASE / "spectra", ROOT))
        floe(LEFT, "mesh", "verify")
        floe(LEFT, "verify")
    finally:
        for site in SITES:
            if (BASE / site).exists():
                floe(site, "down", "--pilots", shown=False, check=False)
    picture = BASE / "spectra" / "0" / "merge" / "spectra.png"
    print(f"\nDone in {time.monotonic() - began:.0f} s. The picture: {picture}")


if __name__ == "__main__":
    main()

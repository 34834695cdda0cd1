"""The admin's page is walked, command by command, at the sites of which it tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.site import FLOE
from tests.netns.internet import Internet, internet
from tests.netns.meshes import until

PAGE: Final = Path(__file__).parents[2] / "docs" / "admin.md"
BLOCK: Final = re.compile(r"^ *```console(?: at=(\S+))?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
MESH_LINE: Final = re.compile(r"[a-z2-7]{52}@(\S+)")
# Where the page's sites are: names resolve there as they would on the internet.
HOSTS: Final = {
    "login1.madison.example": "madison",
    "login2.madison.example": "madison",
    "grid-login.desy.example": "desy",
    "perlmutter.nersc.example": "nersc",
    "grid.aachen.example": "aachen",
}
COMMAND_S_MAX: Final = 180
JOINS: Final = re.compile("floe mesh (join|add) ")  # at the second of two sites, it takes effect
# What only a machine with an internet connection can do.
LEFT_OUT: Final = re.compile(r"git -C icefloe pull")


class Account:
    """A person's account at a site: a home folder, and a host that knows the others by name."""

    def __init__(self, net: Internet, name: str, folder: Path, hosts: Path) -> None:
        self.net = net
        self.name = name
        self.folder = folder
        self.hosts = hosts
        folder.mkdir()

    def types(self, command: str) -> str:
        """Run a command line as typed into a shell there; what it printed."""
        with self.net.inside(self.name):
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c",
                 f"mount --bind {self.hosts} /etc/hosts && exec bash -c \"$0\"", command],
                env={"HOME": str(self.folder), "PATH": f"{Path(FLOE).parent}:/usr/bin:/bin"},
                cwd=self.folder, capture_output=True, text=True,
                timeout=COMMAND_S_MAX, check=False,
            )  # fmt: skip
        assert done.returncode == 0, f"{self.name}$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def accounts() -> Iterator[dict[str, Account]]:
    base = Path(tempfile.mkdtemp(prefix="floe-page-"))
    with internet() as net:
        addresses = {name: net.connect(name) for name in dict.fromkeys(HOSTS.values())}
        hosts = base / "hosts"
        hosts.write_text(
            "127.0.0.1 localhost\n"
            + "".join(f"{addresses[name]} {host}\n" for host, name in HOSTS.items())
        )
        try:
            yield {name: Account(net, name, base / name, hosts) for name in addresses}
        finally:
            net.close()
            shutil.rmtree(base, ignore_errors=True)


def commands() -> Iterator[tuple[str, str]]:
    """(site, command line) in the order of the page."""
    for site, text in BLOCK.findall(PAGE.read_text("utf-8")):
        for line in text.splitlines():
            if line.strip().startswith("$ "):
                yield site, line.strip()[2:]


def test_every_command_of_the_page_is_typed_somewhere() -> None:
    assert {site for site, _ in commands()} == set(HOSTS.values())


def test_an_admin_can_walk_the_page(accounts: dict[str, Account]) -> None:
    for site, command in commands():
        if LEFT_OUT.search(command):
            continue
        here = accounts[site]
        printed = here.types(real(command, accounts))
        if command == "floe mesh invite":
            for account in accounts.values():
                (account.folder / "token").write_text(printed)
        elif JOINS.match(command) and site != "madison":
            until(lambda site=site: site in states(accounts["madison"]), f"{site} is seen there")
    madison, nersc = accounts["madison"], accounts["nersc"]
    until(lambda: states(madison) == {"madison", "desy", "nersc"}, "all members alive at the end")
    until(lambda: states(nersc) == {"madison", "desy", "nersc"}, "the same at another one")


def real(command: str, accounts: dict[str, Account]) -> str:
    """The page's made-up keys and folders as they are here."""
    for found in MESH_LINE.finditer(command):
        site = accounts[HOSTS[found[1]]]
        (line,) = MESH_LINE.finditer(site.types("floe keys show"))
        command = command.replace(found[0], line[0])
    return command.replace("/backup/", f"{accounts['desy'].folder}/backup-")


def states(here: Account) -> set[str]:
    """The members that a site sees alive."""
    listed = json.loads(here.types("floe mesh --json"))["sites"]
    return {each["name"] for each in listed if each["state"] == "alive"}

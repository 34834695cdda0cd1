"""docs/site-slurm.md and docs/site-ssh.md, followed word by word on a cluster made for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import sshd
from tests.clusters.account import plain_account
from tests.clusters.rig import need
from tests.clusters.slurm.cluster import SlurmCluster, cluster, lacking
from tests.clusters.walk import walk

WORKERS_CALL_IT = "127.0.0.2"  # a submit host that is no loopback to the tunnel


@pytest.fixture(scope="module")
def here() -> Iterator[SlurmCluster]:
    need("Slurm", lacking())
    with cluster("page", nodes=2) as made:
        yield made


def test_the_page_about_slurm_can_be_walked(here: SlurmCluster) -> None:
    account = plain_account()
    with account.folder("page") as home:
        said = dict(walk("site-slurm.md", here.place, home, account))
    assert "main*" in said["sinfo -s"]
    assert said["floe logs hello/3/main"] == "this is job 3\n"
    assert "floe-mau" in said["squeue --me --array"]
    assert "Slurm" in said["floe site show"]


def test_the_page_about_a_submit_host_elsewhere_can_be_walked(
    here: SlurmCluster, tmp_path: Path
) -> None:
    need("a submit host", sshd.missing())
    there, mine, daemon = (tmp_path / name for name in ("there", "mine", "daemon"))
    for folder in (there, mine, daemon):
        folder.mkdir()
    words = [f"export {name}='{word}'" for name, word in here.place.environ.items()]
    (there / ".profile").write_text("\n".join([*words, f"export HOME='{there}'", ""]))
    with sshd.sshd(daemon, home=there, lines=("GatewayPorts clientspecified",)) as host:
        port = sshd.free_port()
        _login(host, mine)
        names = {
            "/scratch/ana": str(there), "login2.maui.example": WORKERS_CALL_IT, "18443": str(port),
        }  # fmt: skip
        said = dict(walk("site-ssh.md", here.place, mine, names=names))
    assert not said["ssh -o BatchMode=yes login2 true"]
    assert said["floe site test maui"].count(" ok ") == 7
    assert "maui: what its queues allow" in said["floe site limits"]
    assert said["floe logs hello/3/main"] == "this is job 3\n"
    assert "at login2" in said["floe site show"]
    assert (there / "pilots" / "pilot.pyz").exists()


# All words but -F and its file: a node's own file includes that of the account, by its real home.
_SSH = """\
#!/bin/sh
skip=
for each do
    shift
    if [ "$each" = -F ]; then skip=1; elif [ "$skip" ]; then skip=; else set -- "$@" "$each"; fi
done
exec {program} -F {settings} "$@"
"""


def _login(host: sshd.Sshd, home: Path) -> None:
    """What ~/.ssh of an account is, which ssh does not take from HOME."""
    settings = home / "ssh_config"
    settings.write_text(
        f"Host login2\nHostName 127.0.0.1\nPort {host.port}\nIdentityFile {host.key}\n"
        f"UserKnownHostsFile {host.known_hosts}\n"
    )
    (home / "bin").mkdir()
    program = home / "bin" / "ssh"
    program.write_text(_SSH.format(program=shutil.which("ssh"), settings=settings))
    program.chmod(0o755)

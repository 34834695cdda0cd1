"""Command lines of OpenSSH: what must hold does, whatever ssh_config says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from schedulers.ssh_options import SshSettings, Tunnel, config_text, connection, session

CARELESS = """\
Host login
    HostName login.example.org
    User carol
    StrictHostKeyChecking no
    BatchMode no
    ControlMaster auto
    ControlPath /tmp/shared-%C
    ControlPersist 1h
    RemoteCommand tmux
    RequestTTY force
    ForwardAgent yes
    ForwardX11 yes
    PermitLocalCommand yes
    LocalCommand touch /tmp/hit
    LocalForward 1234 localhost:1234
    ServerAliveInterval 0
    ConnectionAttempts 9
    ProxyJump gate.example.org
    LogLevel QUIET
"""


def effective(argv: list[str]) -> dict[str, str]:
    """What the system's ssh makes of a command line."""
    if shutil.which("ssh") is None:
        pytest.skip("no ssh here")
    done = subprocess.run(
        [argv[0], "-G", *argv[1:]], capture_output=True, check=True, text=True, timeout=20
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.fixture
def careless(tmp_path: Path) -> str:
    path = tmp_path / "ssh_config"
    path.write_text(CARELESS)
    return str(path)


def test_a_careless_ssh_config_changes_nothing_that_matters(careless: str) -> None:
    found = effective(connection(SshSettings("login", config=careless), "/run/a.ssh", "", "true"))
    wanted = {
        "hostname": "login.example.org",
        "user": "carol",
        "proxyjump": "gate.example.org",
        "stricthostkeychecking": "true",
        "batchmode": "yes",
        "controlmaster": "true",
        "controlpath": "/run/a.ssh",
        "controlpersist": "no",
        "requesttty": "false",
        "forwardagent": "no",
        "forwardx11": "no",
        "permitlocalcommand": "no",
        "serveraliveinterval": "15",
        "serveralivecountmax": "3",
        "connectionattempts": "1",
        "connecttimeout": "15",
        "exitonforwardfailure": "yes",
        "clearallforwardings": "yes",
        "loglevel": "INFO",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert "localforward" not in found
    assert "remotecommand" not in found or found["remotecommand"] == "none"


def test_hosts_on_the_way_are_to_ask_nothing_either(careless: str, tmp_path: Path) -> None:
    settings = SshSettings("login", config=careless)
    config = tmp_path / "config"
    config.write_text(config_text(settings, "/home/carol"))
    argv = connection(settings, "/run/a.ssh", "", "true", str(config))
    assert argv[argv.index("-F") + 1] == str(config)  # which ssh hands on to the ssh of a ProxyJump
    assert effective(argv)["user"] == "carol"
    on_the_way = effective(["ssh", "-F", str(config), "-W", "login:22", "gate.example.org"])
    assert on_the_way["batchmode"] == "yes"


def test_without_a_file_the_accounts_own_and_the_systems_are_read() -> None:
    text = config_text(SshSettings("login"), "/home/carol")
    assert text.splitlines() == [
        "BatchMode yes", 'Include "/home/carol/.ssh/config"', 'Include "/etc/ssh/ssh_config"',
    ]  # fmt: skip


def test_a_session_never_connects_by_itself(careless: str) -> None:
    found = effective(session(SshSettings("login", config=careless), "/run/a.ssh", "true"))
    assert (found["controlmaster"], found["controlpath"]) == ("false", "/run/a.ssh")
    assert found["proxycommand"] == "sh -c 'echo floe: no connection >&2; exit 1'"
    assert "proxyjump" not in found


def test_keys_and_files_are_those_of_the_settings() -> None:
    settings = SshSettings("carol@login", 2222, key="/home/a b/key", known_hosts="/etc/a b/known")
    argv = connection(settings, "/run/a.ssh", "", "true")
    found = effective([argv[0], "-F", "/dev/null", *argv[1:]])
    assert (found["identityfile"], found["identitiesonly"]) == ("/home/a b/key", "yes")
    assert found["userknownhostsfile"].strip('"') == "/etc/a b/known"
    assert (found["user"], found["port"]) == ("carol", "2222")


def test_a_pinned_key_leaves_no_other_file_to_ask() -> None:
    key = "ssh-ed25519 " + "A" * 68
    found = effective(connection(SshSettings("login", host_key=key), "/run/s", "/run/pin", "true"))
    assert found["userknownhostsfile"].strip('"') == "/run/pin"
    assert found["globalknownhostsfile"] == "/dev/null"
    assert found["hostkeyalias"] == "floe-pinned"


@pytest.mark.parametrize(
    ("tunnel", "word"),
    [
        (Tunnel(9000, 8443), "*:9000:127.0.0.1:8443"),
        (Tunnel(9000, 8443, "::1", "::"), "[::]:9000:[::1]:8443"),
    ],
)
def test_a_tunnel_is_asked_for_as_ssh_reads_it(tunnel: Tunnel, word: str) -> None:
    argv = connection(SshSettings("login", tunnel=tunnel), "/run/s", "", "true")
    assert argv[argv.index("-R") + 1] == word
    assert effective(argv)["clearallforwardings"] == "no"


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"host": "-oProxyCommand=id"}, "host"),
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": "login;id"}, "host"),
        ({"host": "-l@login"}, "host"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"key": "relative"}, "key"),
        ({"key": "/a\nb"}, "key"),
        ({"known_hosts": '/a"b'}, "known_hosts"),
        ({"config": "/a%hb"}, "config"),
        ({"host_key": "/etc/ssh/ssh_host_ed25519_key.pub"}, "host_key"),
        ({"host_key": "ssh-ed25519 " + "A" * 68 + "\nother"}, "host_key"),
        ({"host_key": "ssh-ed25519 " + "A" * 68, "known_hosts": "/a"}, "host_key"),
        ({"sessions": 0}, "sessions"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(more: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=rf"^{word} "):
        SshSettings(**{"host": "login", **more})


@pytest.mark.parametrize("more", [{"port": 0}, {"to_port": 70000}, {"to_host": "-x"}])
def test_a_tunnel_to_nowhere_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a tunnel's"):
        Tunnel(**{"port": 9000, "to_port": 8443, **more})

"""How a submit host is reached, and the command lines of OpenSSH that reach it. Pure.

ssh_config(5) of the account is read as always (aliases, ProxyJump, Kerberos), but for what must not
be left to it; what is given on the command line wins. Options are those of OpenSSH 7.6 and newer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

CONNECT_S = 15  # until the host has said which software it is
ALIVE_S = 15  # between two questions whether the other end is still there
ALIVE_COUNT = 3  # unanswered ones, after which it is not
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SYSTEM_CONFIG = "/etc/ssh/ssh_config"
PINNED = "floe-pinned"  # the name under which a key from our settings is known
NO_SOCKET = "floe: no connection"  # what a session says that was never sent
# Of sun_path, unix(7): ssh first binds to the name with a dot and 16 more characters.
SOCKET_CHARS_MAX = 107 - 17

_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._@+-]{0,127}@)?[A-Za-z0-9:][A-Za-z0-9._:-]{0,252}")
_PATH = re.compile(r"[^\x00-\x1f\x7f\"%$\\]{1,1000}")
_KEY = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]{3,60} [A-Za-z0-9+/]{40,4000}={0,2}")


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A port of the submit host that leads to the node, for workers that reach nothing else.

    address: of the submit host, on which it listens; "*" for all, which its sshd must allow
    (GatewayPorts clientspecified), else it listens for programs of the submit host alone.
    """

    port: int
    to_port: int
    to_host: str = "127.0.0.1"
    address: str = "*"

    def __post_init__(self) -> None:
        for number in (self.port, self.to_port):
            if not 1 <= number <= 65535:
                raise ValueError(f"a tunnel's port is 1 to 65535, not {number}")
        for host in (self.to_host, self.address):
            if host != "*" and not _HOST.fullmatch(host):
                raise ValueError(f"a tunnel's address is a name or number, not {host[:80]!r}")

    def word(self) -> str:
        """As -R takes it."""
        return ":".join(
            (_bracketed(self.address), str(self.port), _bracketed(self.to_host), str(self.to_port))
        )


@dataclass(frozen=True, slots=True)
class SshSettings:
    """A submit host. All but `host` may be left out.

    host: name, alias of ssh_config or user@name. key: file of the private key. known_hosts: file of
    host keys instead of the account's own; host_key: the one key ("ssh-ed25519 AAAA...") instead of
    any file. config: file instead of the account's ssh_config. profile: whether /etc/profile and
    ~/.profile are read before each command, as they often say where a batch system's commands are.
    sessions: commands at once; sshd allows 10 (MaxSessions), one of which holds the connection.
    Raises ValueError that names the setting.
    """

    host: str
    port: int | None = None
    key: str = ""
    known_hosts: str = ""
    host_key: str = ""
    config: str = ""
    tunnel: Tunnel | None = None
    profile: bool = True
    sessions: int = 6
    program: str = "ssh"
    connect_s: int = CONNECT_S
    alive_s: int = ALIVE_S

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise ValueError(f"host is {self.host[:80]!r}: give NAME or USER@NAME")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}: give 1 to 65535")
        if self.sessions < 1:
            raise ValueError(f"sessions is {self.sessions}: give 1 or more")
        for name in ("key", "known_hosts", "config"):
            path = getattr(self, name)
            if path and not (path.startswith("/") and _PATH.fullmatch(path)):
                raise ValueError(
                    f'{name} is {path[:80]!r}: give an absolute path without ", %, $ and \\'
                )
        if self.host_key and not _KEY.fullmatch(self.host_key):
            raise ValueError(
                f"host_key is {self.host_key[:40]!r}: give its type and the key, as in a line of "
                "ssh-keyscan without the host"
            )
        if self.host_key and self.known_hosts:
            raise ValueError("host_key and known_hosts are both given: one of them decides")


def config_text(settings: SshSettings, home: str) -> str:
    """An ssh_config to be read in place of the account's, which it includes. home: of the account.

    Hosts on the way (ProxyJump) get no option of our command line but its -F; there, too, nobody
    can be asked, and an empty answer to each question would count as one more attempt to break in.
    """
    files = (settings.config,) if settings.config else (f"{home}/.ssh/config", SYSTEM_CONFIG)
    lines = [f'Include "{file}"\n' for file in files if file != "/dev/null"]
    return "".join(["BatchMode yes\n", *lines])


def connection(
    settings: SshSettings, socket: str, pinned: str, command: str, config: str = ""
) -> list[str]:
    """The command line that connects, and listens at `socket` for sessions.

    pinned: file that holds `settings.host_key` under the name PINNED; unused without a key.
    config: file that holds `config_text`.
    """
    options = [
        "ControlMaster=yes",
        "ControlPersist=no",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        f"ConnectTimeout={settings.connect_s}",
        "ConnectionAttempts=1",
        f"ServerAliveInterval={settings.alive_s}",
        f"ServerAliveCountMax={ALIVE_COUNT}",
        "ExitOnForwardFailure=yes",
        "LogLevel=INFO",
        *_host_keys(settings, pinned),
    ]
    if settings.tunnel is None:
        options.append("ClearAllForwardings=yes")  # those of ssh_config are not ours
    words = [*_common(settings, socket, options, config)]
    if settings.key:
        # As an option, as -i for a file that is not there means the account's other keys.
        words += ["-o", f'IdentityFile="{settings.key}"', "-o", "IdentitiesOnly=yes"]
    if settings.tunnel is not None:
        words += ["-R", settings.tunnel.word()]
    return [*words, "--", settings.host, command]


def session(settings: SshSettings, socket: str, command: str) -> list[str]:
    """The command line of one more session in the connection behind `socket`; never a new one."""
    options = [
        "ControlMaster=no",
        # Without the socket ssh would connect by itself; now it says so.
        f"ProxyCommand=sh -c 'echo {NO_SOCKET} >&2; exit 1'",
        "ClearAllForwardings=yes",
        "LogLevel=ERROR",
    ]
    return [*_common(settings, socket, options), "--", settings.host, command]


def _common(
    settings: SshSettings, socket: str, options: Sequence[str], config: str = ""
) -> list[str]:
    fixed = [
        f"ControlPath={socket}",
        "BatchMode=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
    ]
    words = [settings.program, "-T", "-e", "none"]
    if config or settings.config:
        words += ["-F", config or settings.config]
    if settings.port is not None:
        words += ["-p", str(settings.port)]
    for option in (*fixed, *options):
        words += ["-o", option]
    return words


def _host_keys(settings: SshSettings, pinned: str) -> list[str]:
    if settings.host_key:
        return [
            f'UserKnownHostsFile="{pinned}"',
            "GlobalKnownHostsFile=/dev/null",
            f"HostKeyAlias={PINNED}",
        ]
    if settings.known_hosts:
        return [f'UserKnownHostsFile="{settings.known_hosts}"', "GlobalKnownHostsFile=/dev/null"]
    return []


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

"""What OpenSSH complains of, in words that say what to do. Pure.

Source: messages of OpenSSH 7.6 to 9.9 (sshconnect.c, sshconnect2.c, ssh.c, clientloop.c, auth.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from schedulers import remote, texts
from schedulers.ssh_options import LOOPBACK, SshSettings


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no connection. lasting: it stays so until somebody does something."""

    words: str
    lasting: bool


_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
# Told by sshd or the login shell in place of running our command, whatever the status.
_ACCOUNT = (
    (
        "password change required",
        "the account's password has expired: log in by hand once and change it",
    ),
    (
        "password has expired",
        "the account's password has expired: log in by hand once and change it",
    ),
    (
        "required to change your password",
        "the account's password has to be changed: log in by hand once and change it",
    ),
    ("account has expired", "the account has expired: ask the host's admins"),
    ("account is locked", "the account is locked: ask the host's admins"),
    ("account is currently not available", "the account may not log in: ask the host's admins"),
)
# Told by ssh itself. The first text that occurs decides, in any case of letters.
_FAULTS = (
    (
        "remote host identification has changed",
        "its host key is not the one that is known. Somebody may listen in between, or the host "
        "was set up anew: ask its admins for the new key's fingerprint, then correct "
        "{known}{shows}",
        True,
    ),
    (
        "host key is known for",
        "its host key is not known. Compare the fingerprint that `ssh-keyscan` gives with what its "
        "admins publish, then write the key to {known}",
        True,
    ),
    ("host key verification failed", "its host key was not accepted: see {known}", True),
    ("revoked host key", "its host key has been revoked: ask the host's admins", True),
    ("marked as revoked", "its host key has been revoked: ask the host's admins", True),
    ("system is going down", "the host is going down", False),
    (
        "too many authentication failures",
        "it was offered too many keys of the agent: name the right one with key",
        True,
    ),
    (
        "unprotected private key file",
        "others can read the private key {key}: chmod 600 it",
        True,
    ),
    (
        "incorrect passphrase",
        "the private key {key} has a passphrase: use an agent, or a key without one",
        True,
    ),
    ('": invalid format', "{key} is no private key that ssh can read", True),
    ("error in libcrypto", "{key} is no private key that ssh can read", True),
    (
        "permission denied",
        "it refuses our key {key}: its public half has to be in ~/.ssh/authorized_keys there, not "
        "expired, and the account has to be right; if it has a passphrase, an agent has to hold "
        "it{ticket}. A password or a second factor cannot be given by a program",
        True,
    ),
    (
        "remote port forwarding failed",
        "it does not give us the tunnel's port {tunnel}: another program has it, or our own "
        "earlier connection that it does not yet know to be gone, or its sshd forbids tunnels",
        False,
    ),
    (
        "could not resolve hostname",
        "its name is not known to the name service: correct host, or see whether the network is up",
        False,
    ),
    ("connection refused", "nothing listens there: its sshd is down, or port is wrong", False),
    ("no route to host", "there is no way to it through the network", False),
    ("network is unreachable", "there is no way to it through the network", False),
    ("timed out", "it does not answer", False),
    ("unable to negotiate", "it and our OpenSSH share no method: see ssh_config(5)", True),
    ("bad configuration option", "ssh_config holds an option that this OpenSSH lacks", True),
    ("bad owner or permissions", "a file of ssh_config may be written by others", True),
    ("too long for unix domain socket", "the path of the connection's socket is too long", True),
    ("terminating, 1 bad configuration", "ssh_config holds a mistake", True),
    ("not responding", "it does not answer any more", False),
    (
        "kex_exchange_identification",
        "it closed the connection before a word: too many at once, or it locks us out for a while",
        False,
    ),
    ("connection reset", "the connection was reset", False),
    ("broken pipe", "the connection broke", False),
    ("connection closed", "it closed the connection", False),
    ("closed by remote host", "it closed the connection", False),
)


def explain(err: bytes, out: bytes, status: int | None, settings: SshSettings) -> Fault:
    """Why there is no connection, or no longer.

    err, out: what ssh said, and what the login printed before our first mark. status: of ssh, which
    is 255 for a failure of its own and else the login shell's; None if we ended it.
    """
    told = texts.plain(err + b"\n" + out)
    for mark, words in _ACCOUNT:
        if mark in told.lower():
            return Fault(f"{words} ({_quote(told, mark)})", True)
    if status not in (255, None):
        return _shell_ended(out or err, status)
    complaints = texts.plain(err)
    for mark, words, lasting in _FAULTS:
        if mark in complaints.lower():
            filled = _filled(words, settings, complaints)
            return Fault(f"{filled} (ssh: {_quote(complaints, mark)})", lasting)
    if status is None:
        return Fault(f"it does not answer{_printed(out)}", False)
    return Fault(f"ssh ended: {_quote(complaints, '') or 'it said nothing'}", False)


def shut_tunnel(out: bytes, settings: SshSettings) -> Fault | None:
    """Whether workers cannot reach the tunnel though they are meant to: sshd does not tell."""
    tunnel = settings.tunnel
    if tunnel is None:
        return None
    if remote.is_shared(out, tunnel.port):
        words = f"the tunnel's port {tunnel.port} is that of another user's program, too, which "
        return Fault(f"{words}workers would reach in place of the node: take another port", False)
    if tunnel.address in LOOPBACK or not remote.is_shut(out, tunnel.port):
        return None
    return Fault(
        f"the tunnel's port {tunnel.port} can be reached from the host itself alone: its sshd "
        "needs `GatewayPorts clientspecified`; if workers run on that very host, set "
        f'url = "https://127.0.0.1:{tunnel.port}"',
        True,
    )


def _shell_ended(said: bytes, status: int | None) -> Fault:
    return Fault(
        "the login ended before our command ran: the account's shell or its start-up files end it, "
        f"or it may run no commands (status {status}{_printed(said)})",
        True,
    )


def _printed(said: bytes) -> str:
    words = texts.harmless(said[-600:], 150)
    return f"; it printed {words!r}" if words else ""


def _filled(words: str, settings: SshSettings, complaints: str) -> str:
    shown = _FINGERPRINT.search(complaints)
    known = "host_key in the settings" if settings.host_key else settings.known_hosts
    return words.format(
        host=settings.host,
        key=settings.key or "(of the agent, or ~/.ssh)",
        known=known or "~/.ssh/known_hosts",
        tunnel=settings.tunnel.port if settings.tunnel else "",
        ticket="; or a Kerberos ticket has run out (klist)" if "gssapi" in complaints else "",
        shows=f"; now it shows {shown[0]}" if shown else "",
    )


def _quote(text: str, mark: str) -> str:
    """The line that tells it, else the last one."""
    lines = [line for line in text.splitlines() if line.strip(" @\t")]
    fitting = [line for line in lines if mark and mark in line.lower()] or lines[-1:]
    return texts.harmless(fitting[0].strip(" @"), 160) if fitting else ""

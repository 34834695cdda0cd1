"""Complaints of OpenSSH in words that say what to do. The texts are those of OpenSSH 9.2."""

from __future__ import annotations

import pytest

from schedulers.ssh_faults import Fault, explain
from schedulers.ssh_options import SshSettings, Tunnel

SETTINGS = SshSettings("carol@login", key="/keys/floe", tunnel=Tunnel(9000, 8443))
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
The fingerprint for the ED25519 key sent by the remote host is
SHA256:6cqBWxbnhD/2UnYaNOhGuDJMABJ+eKYpqppijf/Huhk.
Host key for login has changed and you have requested strict checking.
Host key verification failed.
"""
UNKNOWN = """\
No ED25519 host key is known for login and you have requested strict checking.
Host key verification failed.
"""
OPEN_KEY = """\
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
Permissions 0644 for '/keys/floe' are too open.
Load key "/keys/floe": bad permissions
carol@login: Permission denied (publickey).
"""


def told(err: str, status: int | None = 255, out: str = "") -> Fault:
    return explain(err.encode(), out.encode(), status, SETTINGS)


@pytest.mark.parametrize(
    ("err", "words"),
    [
        (CHANGED, "its host key is not the one that is known"),
        (UNKNOWN, "its host key is not known"),
        ("carol@login: Permission denied (publickey,password).\r\n", "refuses our key /keys/floe"),
        (
            "c@login: Permission denied (publickey,gssapi-with-mic).\r\n",
            "ticket has run out (klist)",
        ),
        (OPEN_KEY, "others can read the private key /keys/floe: chmod 600 it"),
        (
            "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\n"
            "Disconnected from 10.0.0.1 port 22\n",
            "name the right one with key",
        ),
        (
            'Load key "/keys/floe": error in libcrypto\n'
            "carol@login: Permission denied (publickey).\n",
            "/keys/floe is no private key that ssh can read",
        ),
        (
            "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. "
            "Their offer: ssh-rsa",
            "share no method",
        ),
        ("/home/c/.ssh/config: line 3: Bad configuration option: foo", "an option that this"),
    ],
)
def test_what_somebody_has_to_do_is_said_and_not_tried_again_soon(err: str, words: str) -> None:
    fault = told(err)
    assert words in fault.words
    assert fault.lasting


@pytest.mark.parametrize(
    ("err", "words"),
    [
        ("ssh: Could not resolve hostname login: Name or service not known", "correct host"),
        ("ssh: connect to host login port 22: Connection refused", "nothing listens there"),
        ("ssh: connect to host login port 22: Connection timed out", "it does not answer"),
        ("ssh: connect to host login port 22: No route to host", "no way to it"),
        ("Connection timed out during banner exchange", "it does not answer"),
        ("Timeout, server login not responding.", "it does not answer any more"),
        ("kex_exchange_identification: read: Connection reset by peer", "locks us out"),
        ("client_loop: send disconnect: Broken pipe", "the connection broke"),
        ("Connection to login closed by remote host.", "it closed the connection"),
        ("Error: remote port forwarding failed for listen port 9000", "the tunnel's port 9000"),
        ("something new", "ssh ended: something new"),
        ("", "ssh ended: it said nothing"),
    ],
)
def test_what_may_pass_is_tried_again_soon(err: str, words: str) -> None:
    fault = told(err)
    assert words in fault.words
    assert not fault.lasting


def test_words_of_a_banner_are_not_taken_for_those_of_ssh() -> None:
    banner = "Privileges may be revoked. No matching of invalid format is needed to log in.\n"
    assert "it refuses our key" in told(f"{banner}c@login: Permission denied (publickey).").words
    assert "it closed the connection" in told(f"{banner}Connection closed by 10.0.0.1").words


def test_a_new_host_key_is_told_by_its_fingerprint() -> None:
    assert (
        "now it shows SHA256:6cqBWxbnhD/2UnYaNOhGuDJMABJ+eKYpqppijf/Huhk (" in told(CHANGED).words
    )
    assert "now it shows" not in told(UNKNOWN).words


def test_words_of_the_shell_are_not_taken_for_those_of_ssh() -> None:
    fault = told("bash: /opt/batch/env.sh: Permission denied\n", 1)
    assert "our key" not in fault.words
    assert "(status 1; it printed 'bash: /opt/batch/env.sh: Permission denied')" in fault.words


def test_an_expired_password_is_told_whatever_the_status() -> None:
    err = "WARNING: Your password has expired.\nPassword change required but no TTY available.\n"
    for status in (1, 254, 255):
        assert "log in by hand once and change it" in told(err, status).words


def test_what_is_quoted_is_one_short_line_without_escapes() -> None:
    words = told("\x1b[31mssh: connect: Connection refused\x07" + "x" * 5000 + "\nlast").words
    assert len(words) < 400
    assert words.isprintable()

"""One command on a submit host: how it is worded there, and what its answer means. Pure.

The account's login shell may be csh or fish, and its start-up files may print. So it sees one fixed
line that all shells read alike, by which it becomes /bin/sh; that sh reads its orders as the first
line of stdin. Marks that nobody can foresee stand around what the command prints: what is not
between them is of somebody else, and without the last one the answer is not whole.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from schedulers.base import Completed

BOOTSTRAP = "exec /bin/sh -c 'IFS= read -r line; eval \"$line\"'"
KILL_AFTER_S = 2  # of the end of its time, for a command that does not end when told to
NOISE_BYTES_MAX = 256 << 10  # before the first mark
OVERDUE = 124  # exit status of timeout(1)
SIGNALS = range(129, 144)  # 128 + n: how sh tells signal n

_WE = "floe-user"  # before the number of our account there
# 127.0.0.1 and ::1 in /proc/net, on machines of either order of bytes.
_LOOPBACK = {
    b"0100007F", b"7F000001", b"0" * 24 + b"01000000", b"0" * 24 + b"00000001",
}  # fmt: skip
_PROFILE = (
    "path=$PATH; "
    "for file in /etc/profile ~/.profile; do "
    '[ -r "$file" ] && . "$file" </dev/null >/dev/null 2>&1; done; '
    "PATH=$PATH:$path; export PATH; "
)
_PLAIN = (
    "LC_ALL=C NO_COLOR=1 TERM=dumb; export LC_ALL NO_COLOR TERM; "
    "unset CLICOLOR_FORCE FORCE_COLOR LANGUAGE; cd; "
)


def ready(mark: str, tunnel_port: int | None = None) -> bytes:
    """Orders that print the mark and hold the session open until stdin ends.

    tunnel_port: before the mark, tell who listens there, where the host can tell (proc(5)).
    """
    look = ""
    if tunnel_port is not None:
        line = f"^ *[0-9]+: [0-9A-F]+:{tunnel_port:04X} [0-9A-F]+:0000 0A "
        look = (
            f"printf '{_WE} %s\\n' \"$(id -u)\"; "
            f"grep -hE '{line}' /proc/net/tcp /proc/net/tcp6 2>/dev/null; "
        )
    return f"{look}printf '%s\\n' {mark}; exec cat >/dev/null\n".encode()


def is_ready(out: bytes, mark: str) -> bool:
    """Whether `ready` was obeyed."""
    return f"{mark}\n".encode() in out


def is_shut(out: bytes, tunnel_port: int) -> bool:
    """Whether the host is known to listen at the tunnel's port for its own programs alone."""
    addresses = {address for address, _ in _listeners(out, tunnel_port)}
    return bool(addresses) and addresses <= _LOOPBACK


def is_shared(out: bytes, tunnel_port: int) -> bool:
    """Whether another user is known to listen at the tunnel's port, too, on some of its addresses.

    sshd is content with one address of several. Root is not counted: it may be sshd itself.
    """
    we = re.search(rb"^%s (\d+)$" % _WE.encode(), out, re.MULTILINE)
    users = {user for _, user in _listeners(out, tunnel_port)}
    return we is not None and bool(users - {we[1], b"0"})


def _listeners(out: bytes, port: int) -> list[tuple[bytes, bytes]]:
    """Addresses and users of what listens there, as proc(5) tells."""
    line = rb"^ *\d+: ([0-9A-F]+):%04X [0-9A-F]+:0000 0A \S+ \S+ \S+ +(\d+) " % port
    return re.findall(line, out, re.MULTILINE)


def orders(argv: Sequence[str], mark: str, time_s: float, *, profile: bool) -> bytes:
    """One line for the sh of BOOTSTRAP, that runs `argv`; what follows it is the command's stdin.

    time_s: after which the command is ended there, even if we are no longer connected.
    """
    limit = f"timeout -k {KILL_AFTER_S} {math.ceil(time_s)}"
    program = _quoted(argv[0])
    line = (
        "n=$(printf '\\012.'); n=${n%.}; "
        f"{_PROFILE if profile else ''}{_PLAIN}"
        f"printf '%s\\n' {mark}; printf '%s\\n' {mark} >&2; "
        f"if command -v {program} >/dev/null 2>&1; then "
        f"limit=; timeout -k 1 1 true >/dev/null 2>&1 && limit={shlex.quote(limit)}; "
        # timeout(1) makes a group of its own number, in which those stay whom it leaves behind.
        f"exec 3<&0; $limit {' '.join(map(_quoted, argv))} <&3 3<&- & group=$!; exec 3<&-; "
        "wait $group; status=$?; kill -9 -$group 2>/dev/null; "
        "else status=missing; fi; "
        f"printf %s {mark}; printf '%s\\n' \"{mark} end $status\" >&2; "
        '[ "$status" = missing ] || exit "$status"'
    )
    return line.encode("utf-8", "surrogateescape") + b"\n"


def last_word(mark: str) -> bytes:
    """When this was printed to stderr the command has ended."""
    return f"{mark} end ".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was between the marks.

    begun: the command was started, or its program was looked for. missing: there is no such
    program. done: None when the end was not seen.
    """

    begun: bool
    missing: bool = False
    done: Completed | None = None


def answer(done: Completed, mark: str, out_bytes_max: int) -> Answer:
    """Reads what a session printed. done: of the ssh client."""
    _, begun, out = done.out.partition(f"{mark}\n".encode())
    if not begun:
        return Answer(False)
    out, whole, _ = out.partition(mark.encode())
    if not whole and (done.cut or len(out) > out_bytes_max):
        return Answer(True, done=Completed(-9, out[:out_bytes_max], b"", True))
    head, ended, tail = done.err.rpartition(last_word(mark))
    status = re.match(rb"(missing|\d{1,3})\n", tail)
    if not ended or status is None or not whole:
        return Answer(True)
    if status[1] == b"missing":
        return Answer(True, missing=True)
    err = head.split(f"{mark}\n".encode(), 1)[-1]
    cut = len(out) > out_bytes_max
    return Answer(True, done=Completed(_status(int(status[1])), out[:out_bytes_max], err, cut))


def _status(number: int) -> int:
    """What sh cannot tell apart, a status of 128 + n and signal n, is the signal for low n."""
    return 128 - number if number in SIGNALS else number


def _quoted(word: str) -> str:
    """For sh, on one line."""
    return shlex.quote(word).replace("\n", "'\"$n\"'")

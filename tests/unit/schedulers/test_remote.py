"""One command on a submit host: its orders and what its answer means."""

from __future__ import annotations

import subprocess

import pytest

from schedulers import remote
from schedulers.base import Completed
from tests.vectors.words import HOSTILE

MARK = "floe-0123456789abcdef"


def answered(out: bytes, err: bytes, status: int = 0, *, cut: bool = False) -> remote.Answer:
    return remote.answer(Completed(status, out, err, cut), MARK, 1000)


def marked(out: str, status: str) -> tuple[bytes, bytes]:
    return f"{MARK}\n{out}{MARK}".encode(), f"{MARK}\nwarned\n{MARK} end {status}\n".encode()


def test_orders_are_one_line() -> None:
    assert remote.orders(["echo", *HOSTILE], MARK, 60, profile=True).count(b"\n") == 1


def test_the_fixed_line_and_its_orders_work_in_a_plain_sh() -> None:
    stdin = remote.orders(["printf", "%s|", *HOSTILE], MARK, 60, profile=False) + b"rest"
    done = subprocess.run(["sh", "-c", remote.BOOTSTRAP], input=stdin, capture_output=True)
    got = remote.answer(Completed(done.returncode, done.stdout, done.stderr), MARK, 1 << 20).done
    assert got is not None
    wanted = "".join(f"{word}|" for word in HOSTILE).encode("utf-8", "surrogateescape")
    assert (got.status, got.out, got.err) == (0, wanted, b"")


def test_what_is_outside_the_marks_is_of_somebody_else() -> None:
    out, err = marked("data", "3")
    got = answered(b"Welcome\nprompt$ " + out + b"bye", b"tty\n" + err + b"closed\n", 3)
    assert got.done == Completed(3, b"data", b"warned\n")


@pytest.mark.parametrize(("status", "told"), [("0", 0), ("137", -9), ("153", 153), ("255", 255)])
def test_a_signal_is_told_from_the_statuses_of_pbs(status: str, told: int) -> None:
    done = answered(*marked("", status)).done
    assert done is not None
    assert done.status == told


def test_a_program_that_is_not_there_is_told() -> None:
    assert answered(*marked("", "missing")).missing


def test_nothing_begun_is_told_from_an_end_that_was_not_seen() -> None:
    out, err = marked("data", "0")
    assert answered(b"Welcome", b"") == remote.Answer(False)
    for some in range(len(MARK) + 1, len(out)):
        assert answered(out[:some], err) == remote.Answer(True)
    for some in range(len(err)):
        assert answered(out, err[:some]) == remote.Answer(True)


def test_too_much_is_cut() -> None:
    out, err = marked("x" * 2000, "0")
    assert answered(out, err).done == Completed(0, b"x" * 1000, b"warned\n", True)
    assert answered(out[:1500], b"", -9, cut=True).done == Completed(-9, b"x" * 1000, b"", True)


LINE = b"   1: %s:2328 %s:0000 0A 00000000:00000000 00:00000000 00000000  %4d        0 9513515 1"


@pytest.mark.parametrize(
    ("addresses", "shut"),
    [
        ([], False),  # the host does not tell
        ([b"0100007F"], True),
        ([b"0100007F", b"0" * 24 + b"01000000"], True),
        ([b"00000000"], False),
        ([b"0100007F", b"0" * 32], False),
        ([b"0A00000A"], False),
    ],
)
def test_a_tunnel_for_the_host_alone_is_told_from_one_for_all(
    addresses: list[bytes], shut: bool
) -> None:
    out = b"Welcome\n" + b"\n".join(LINE % (each, b"0" * len(each), 0) for each in addresses)
    assert remote.is_shut(out, 0x2328) == shut
    assert not remote.is_shut(out, 0x2329)


@pytest.mark.parametrize(
    ("users", "shared"),
    [([], False), ([1002, 1002], False), ([0, 1002], False), ([1002, 1003], True), ([1003], True)],
)
def test_a_port_on_which_somebody_else_listens_too_is_told(users: list[int], shared: bool) -> None:
    lines = [LINE % (b"0" * 8, b"0" * 8, user) for user in users]
    out = b"Welcome\nfloe-user 1002\n" + b"\n".join(lines)
    assert remote.is_shared(out, 0x2328) == shared
    assert not remote.is_shared(out, 0x2329)
    assert not remote.is_shared(b"\n".join(lines), 0x2328)  # nobody said who we are

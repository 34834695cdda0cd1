"""What is said of a connection that did not come about."""

from __future__ import annotations

import errno

import pytest
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.python.failure import Failure

from federation.sockets import _why


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED), "connection refused"),
        (ConnectError(errno.EHOSTUNREACH), "no route to host"),
        (DNSLookupError("no such name"), "no such name"),
        (ValueError(), "ValueError"),
    ],
)
def test_why_a_dial_failed_is_told_in_words(error: Exception, words: str) -> None:
    assert words in _why(Failure(error))

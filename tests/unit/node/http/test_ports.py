"""A port that another program has."""

from __future__ import annotations

import errno

from twisted.internet.error import CannotListenError

from node.http.tls import no_port


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    taken = OSError(errno.EADDRINUSE, "Address already in use")
    words = no_port(CannotListenError("127.0.0.1", 7422, taken))
    assert "cannot listen on 127.0.0.1:7422: address already in use" in words
    assert "listen in [api] of config.toml" in words

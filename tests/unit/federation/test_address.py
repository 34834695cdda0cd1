"""Addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.address import BadAddress, is_address, split_address, with_port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("login1.desy.example:7421", "login1.desy.example", 7421),
        ("localhost:1", "localhost", 1),
        ("192.0.2.7:65535", "192.0.2.7", 65535),
        ("[2001:db8::1]:7421", "2001:db8::1", 7421),
        ("a_b-c.example.:7421", "a_b-c.example.", 7421),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "", ":7421", "desy", "desy:", "desy:0", "desy:65536", "desy:٧", "desy:-1", "de sy:7421",
        "2001:db8::1:7421", "[2001:db8::1]", "[zz]:7421", "1.2.3:7421", "1.2.3.256:7421",
        "-desy:7421", "desy..example:7421", "é.example:7421", "a" * 64 + ":7421", "x" * 400 + ":1",
        "desy:" + "7" * 50, "desy:0000019999999", "desy:1000007421", "user@desy:7421", "https://desy:7421",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        split_address(text)
    assert not is_address(text)


def test_the_port_may_be_left_to_the_site() -> None:
    assert with_port("desy.example", 7421) == "desy.example:7421"
    assert with_port("desy.example:1", 7421) == "desy.example:1"
    assert with_port("[2001:db8::1]", 7421) == "[2001:db8::1]:7421"
    assert with_port("[2001:db8::1]:1", 7421) == "[2001:db8::1]:1"
    with pytest.raises(BadAddress):
        with_port("de sy", 7421)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    assert is_address(text) in (True, False)

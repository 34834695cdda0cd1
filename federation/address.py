"""Addresses at which sites are dialled: `HOST:PORT`, with an IPv6 address in brackets. Pure."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from federation import limits

PORT: Final = 7421  # where sites listen for each other unless told otherwise
RIGHT: Final = "write HOST:PORT, such as login1.desy.example:7421 or [2001:db8::1]:7421"

_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NAME_CHARS_MAX: Final = 253
_PORT_DIGITS_MAX: Final = 5


class BadAddress(ValueError):
    """Text that is no address to dial; the message says why."""


def split_address(text: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`; an IPv6 host without its brackets. Raises BadAddress."""
    if len(text) > limits.ADDRESS_BYTES_MAX:
        raise BadAddress(f"an address has at most {limits.ADDRESS_BYTES_MAX} characters")
    host, colon, port = text.rpartition(":")
    digits = colon and port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS_MAX
    if not digits or not 1 <= int(port) <= 65535:
        raise BadAddress(f"{text[:60]!r} has no port from 1 to 65535")
    return _host(host), int(port)


def with_port(text: str, port: int) -> str:
    """`HOST` or `HOST:PORT` as `HOST:PORT`, with `port` where none is named. Raises BadAddress."""
    bare = text.startswith("[") and text.endswith("]")
    full = f"{text}:{port}" if bare or ":" not in text else text
    split_address(full)
    return full


def is_address(text: str) -> bool:
    try:
        split_address(text)
    except BadAddress:
        return False
    return True


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(IPv6Address(host[1:-1]))
        except AddressValueError:
            raise BadAddress(f"{host[:60]!r} is no IPv6 address") from None
    if ":" in host:
        raise BadAddress("an IPv6 address stands in brackets, as in [2001:db8::1]:7421")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit():
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise BadAddress(f"{host[:60]!r} is no IPv4 address") from None
    if len(host) > _NAME_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadAddress(f"{host[:60]!r} is no host name")
    return host

"""Bounded msgpack. Pure.

What we write is canonical: shortest form of every integer and length, text as str, bytes as bin,
no floats, no maps, no extension types. What is read is bounded before it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types

from federation.errors import LocalError, PeerError
from federation.limits import DEPTH_MAX

_INT_MIN: Final = -(2**63)
_BROKEN: Final = (ValueError, TypeError, OverflowError, msgpack.UnpackException)


def pack(value: object) -> bytes:
    """Canonical msgpack of ints, bytes, text, None, bools and sequences of them.

    Raises LocalError for anything else.
    """
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True, strict_types=False)
    except _BROKEN as error:
        raise LocalError(f"cannot be packed: {error}") from None
    return packed


def pack_array(items: Sequence[bytes]) -> bytes:
    """One array of items that are packed already."""
    header: bytes = msgpack.Packer().pack_array_header(len(items))
    return header + b"".join(items)


def unpack(data: bytes, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> Any:
    """The one value in `data`; arrays become lists.

    Raises PeerError when it is larger or deeper than allowed, incomplete, followed by more, or
    no msgpack.
    """
    value = unpack_shallow(data, bytes_max=bytes_max)
    _check_depth(value, depth_max)
    return value


def unpack_shallow(data: bytes, *, bytes_max: int) -> Any:
    """`unpack` for callers that check the shape of all they read: depth is not looked at."""
    if len(data) > bytes_max:
        raise PeerError(f"{len(data)} bytes where at most {bytes_max} are allowed")
    try:
        # Lengths inside are bounded by the data's own length: msgpack's default for a buffer
        # that is given whole.
        return msgpack.unpackb(data, raw=False, use_list=True, strict_map_key=True)
    except _BROKEN as error:
        raise PeerError(f"no msgpack: {type(error).__name__}") from None


def split_array(data: bytes, *, bytes_max: int) -> list[bytes]:
    """The packed bytes of each item of the one array in `data`. Raises PeerError."""
    if len(data) > bytes_max:
        raise PeerError(f"{len(data)} bytes where at most {bytes_max} are allowed")
    unpacker = msgpack.Unpacker(max_buffer_size=max(bytes_max, 1))
    unpacker.feed(data)
    items = []
    try:
        for _ in range(unpacker.read_array_header()):
            start = unpacker.tell()
            unpacker.skip()
            items.append(data[start : unpacker.tell()])
    except _BROKEN as error:
        raise PeerError(f"no msgpack array: {type(error).__name__}") from None
    if unpacker.tell() != len(data):
        raise PeerError("more bytes follow the array")
    return items


def _check_depth(value: object, depth_max: int) -> None:
    level = _containers([value])
    for _ in range(depth_max):
        if not level:
            return
        level = [child for parent in level for child in _containers(parent)]
    if level:
        raise PeerError(f"values nested deeper than {depth_max}")


def _containers(value: object) -> list[object]:
    """The lists and maps directly within `value`, found without a Python step per plain item."""
    children = value.values() if type(value) is dict else value if type(value) is list else ()
    kinds = set(map(type, children))
    if list not in kinds and dict not in kinds:
        return []
    return [child for child in children if type(child) in (list, dict)]

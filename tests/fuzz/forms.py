"""How inputs are built inside, so that they can be changed in places that mean something."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

DEPTH_MAX = 200  # deeper trees are changed as bytes only


@dataclass(frozen=True)
class Form:
    """parse: bytes to a tree of lists and dicts; raises ValueError. dump: the canonical inverse."""

    name: str
    parse: Callable[[bytes], Any] | None = None
    dump: Callable[[Any], bytes] | None = None

    def tree(self, data: bytes) -> Any:
        """The input's tree. Raises ValueError where it has none."""
        if self.parse is None:
            raise ValueError("no tree")
        try:
            return self.parse(data)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from None

    def bytes_of(self, tree: Any) -> bytes:
        """Raises ValueError for what has no form."""
        assert self.dump is not None
        try:
            return self.dump(tree)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from None

    def canonical(self, data: bytes) -> bool:
        """Whether these bytes are the one way to write what they say."""
        try:
            return self.bytes_of(self.tree(data)) == data
        except ValueError:
            return False


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except msgpack.UnpackException as error:
        raise ValueError(str(error)) from None


def _frames(data: bytes) -> list[Any]:
    messages = []
    while data:
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4 + size:
            raise ValueError("a frame that is cut off")
        messages.append(_unpack(data[4 : 4 + size]))
        data = data[4 + size :]
    return messages


def _framed(messages: Any) -> bytes:
    if type(messages) is not list:
        raise ValueError("no list of messages")
    packed = [msgpack.packb(message) for message in messages]
    return b"".join(len(each).to_bytes(4, "big") + each for each in packed)


def _json_text(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


RAW = Form("raw")
TEXT = Form("text")
MSGPACK = Form("msgpack", _unpack, msgpack.packb)
JSON = Form("json", lambda data: json.loads(data.decode()), _json_text)
FRAMES = Form("frames", _frames, _framed)

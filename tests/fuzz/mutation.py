"""Changes of inputs: of single bytes, of pieces, and of values in their places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.fuzz import nasty
from tests.fuzz.forms import Form

STEPS_MAX = 4  # changes of one input
_TOKENS = (
    *nasty.MSGPACK.values(), *nasty.JSON.values(), b"\x00", b"\xff", b"\xc0", b"\x90", b"\x80",
    *nasty.TEXT.values(), b"[", b"]", b"{", b"}", b'"', b",", b":", b".", b"-", b"/", b"\n",
    b"\r\n", b" ", b"e9",
)  # fmt: skip
TOKEN_BYTES_MAX = 16


class Mutator:
    """Makes inputs of one form out of others. The same seed makes the same inputs."""

    def __init__(self, random: Random, form: Form, bytes_max: int) -> None:
        self._random = random
        self._form = form
        self._bytes_max = bytes_max
        values = nasty.JSON_VALUES if form.name == "json" else nasty.MSGPACK_VALUES
        self._values: tuple[Any, ...] = values

    def next(self, corpus: Sequence[bytes]) -> bytes:
        """One more input."""
        random = self._random
        data = random.choice(corpus)
        for _ in range(random.randint(1, STEPS_MAX)):
            other = random.choice(corpus)
            data = self._in_tree(data, other) if random.random() < 0.6 else self._raw(data, other)
        return data[: self._bytes_max]

    # Values in their places

    def _in_tree(self, data: bytes, other: bytes) -> bytes:
        try:
            tree = [self._form.tree(data)]  # in a list, so that the whole is a place too
            self._change(tree, other)
            return self._form.bytes_of(tree[0])
        except ValueError:
            return self._raw(data, other)

    def _change(self, tree: list[Any], other: bytes) -> None:
        random = self._random
        parent, key = random.choice(places(tree))
        if isinstance(parent, list) and parent is not tree and random.random() < 0.4:
            self._in_list(parent, key)
        elif isinstance(parent, dict) and random.random() < 0.2:
            self._in_dict(parent, key)
        elif random.random() < 0.25:
            self._graft(parent, key, other)
        else:
            parent[key] = self._value(parent[key])

    def _in_list(self, parent: list[Any], at: int) -> None:
        act = self._random.randrange(4)
        if act == 0:
            del parent[at]
        elif act == 1:
            parent.insert(at, parent[at])
        elif act == 2:
            to = self._random.randrange(len(parent))
            parent[at], parent[to] = parent[to], parent[at]
        else:
            parent.extend([parent[at]] * self._random.choice((1, 16, 300)))

    def _in_dict(self, parent: dict[Any, Any], key: Any) -> None:
        value = parent.pop(key)
        if self._random.random() < 0.7:
            parent[self._random.choice(nasty.TEXTS)] = value

    def _graft(self, parent: Any, key: Any, other: bytes) -> None:
        """A value of another input here."""
        tree = [self._form.tree(other)]
        found, place = self._random.choice(places(tree))
        parent[key] = found[place]

    def _value(self, value: Any) -> Any:
        random = self._random
        if type(value) is int and random.random() < 0.5:
            return value + random.choice((-1, 1, 256, -(2**32), 2**32))
        if type(value) is bytes and value and random.random() < 0.5:
            return self._raw(value, value)
        if type(value) is str and value and random.random() < 0.5:
            changed = self._raw(value.encode("utf-8", "replace"), b"")
            return changed.decode("utf-8", random.choice(("replace", "ignore")))
        return random.choice(self._values)

    # Bytes

    def _raw(self, data: bytes, other: bytes) -> bytes:
        acts: tuple[Callable[[bytes, bytes], bytes], ...] = (
            self._flip, self._set, self._drop, self._repeat, self._insert, self._splice, self._cut,
        )  # fmt: skip
        return self._random.choice(acts)(data, other)

    def _at(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        low = self._at(data)
        return low, min(len(data), low + self._random.choice((1, 2, 4, 16, 64)))

    def _flip(self, data: bytes, other: bytes) -> bytes:
        if not data:
            return b"\x01"
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]

    def _set(self, data: bytes, other: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + bytes([self._random.randrange(256)]) + data[at + 1 :]

    def _drop(self, data: bytes, other: bytes) -> bytes:
        low, high = self._span(data)
        return data[:low] + data[high:]

    def _repeat(self, data: bytes, other: bytes) -> bytes:
        low, high = self._span(data)
        times = self._random.choice((1, 2, 50))
        return (data[:high] + data[low:high] * times + data[high:])[: self._bytes_max]

    def _insert(self, data: bytes, other: bytes) -> bytes:
        at = self._at(data)
        size = TOKEN_BYTES_MAX if self._random.random() < 0.9 else self._bytes_max
        token = self._random.choice(_TOKENS)[:size]
        return data[:at] + token + data[at:]

    def _splice(self, data: bytes, other: bytes) -> bytes:
        return data[: self._at(data)] + other[self._at(other) :]

    def _cut(self, data: bytes, other: bytes) -> bytes:
        return data[: self._at(data)]


def places(tree: list[Any]) -> list[tuple[Any, Any]]:
    """Every (container, key or index) in a tree. Raises ValueError for one that is too large."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [tree]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], list | dict):
                waiting.append(container[key])
        if len(found) > 20_000:
            raise ValueError("too large to be changed in its places")
    return found

"""Inputs and values that decoders of any kind have stumbled over."""

from __future__ import annotations

from typing import Any

NUMBERS = (
    0, 1, -1, 2, 127, 128, 255, 256, 4095, 4096, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**40, 2**47, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -127, -128, -(2**31), -(2**63),
)  # fmt: skip
TEXTS = (
    "", "a", "A", " ", "\n", "\0", "\x1b[2J", "é", "日本", "\u202e", "\ufffd", "a" * 33, "a" * 129,
    "a" * 5000, "../..", "/etc/passwd", "{job}", "{", "}}", "nan", "1e999", "-0", "٣", "true",
    "0" * 64, "f" * 64, "g" * 64, "1" * 5000,
)  # fmt: skip
BYTES = (b"", b"\0", b"\xff", b"\x80" * 8, bytes(31), bytes(32), bytes(33), b"\xff" * 32, bytes(64))
PLAIN: tuple[Any, ...] = (None, True, False, 0.0, -0.0, 1.5, float("inf"), float("nan"), [], {})
MSGPACK_VALUES: tuple[Any, ...] = (*NUMBERS, *TEXTS, *BYTES, *PLAIN, [[]], [0] * 20, {1: 2})
JSON_VALUES: tuple[Any, ...] = (*NUMBERS, 2**64, 10**400, *TEXTS, *PLAIN, [[]], [0] * 20, {"a": {}})

MSGPACK = {
    "nothing": b"",
    "never used": b"\xc1",
    "nested": b"\x91" * 600 + b"\x90",
    "nested maps": b"\x81\x01" * 600 + b"\x80",
    "huge array": b"\xdd\xff\xff\xff\xff",
    "huge map": b"\xdf\xff\xff\xff\xff",
    "huge bytes": b"\xc6\xff\xff\xff\xff",
    "huge text": b"\xdb\xff\xff\xff\xff",
    "extension": b"\xc7\x04\x01abcd",
    "a time": b"\xd7\xff" + bytes(8),
    "no utf-8": b"\x91\xa2\xff\xfe",
    "a surrogate": b"\x91\xa3\xed\xa0\x80",
    "one key twice": b"\x82\xa1a\x01\xa1a\x02",
    "list as key": b"\x81\x90\x01",
    "two values": b"\x90\x90",
    "long zero": b"\x91\xcf" + bytes(8),
    "not a number": b"\x91\xcb\x7f\xf8" + bytes(6),
    "many items": b"\xdc\xff\xff" + b"\x00" * 65_535,
}
JSON = {
    "nothing": b"",
    "nested": b"[" * 5000 + b"]" * 5000,
    "nested objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "unclosed": b"[" * 100_000,
    "a long number": b'{"floe":' + b"1" * 5000 + b"}",
    "beyond numbers": b'{"floe":1e999}',
    "not a number": b'{"floe":NaN}',
    "one key twice": b'{"floe":1,"floe":2}',
    "a surrogate": b'{"kind":"\\ud800"}',
    "a mark": b'\xef\xbb\xbf{"floe":1}',
    "no utf-8": b'{"kind":"\xff"}',
    "many keys": b"{" + b",".join(b'"%d":0' % n for n in range(2000)) + b"}",
}
TEXT = {
    "nothing": b"",
    "a zero": b"\0",
    "a surrogate": b"\xed\xa0\x80",
    "digits": b"1" * 5000,
    "other digits": "٣٤".encode(),
    "wide": "ａｂｃ：７".encode(),
    "one long line": b"a" * 60_000,
}
OF_FORM = {"msgpack": MSGPACK, "frames": MSGPACK, "json": JSON, "text": TEXT, "raw": TEXT}

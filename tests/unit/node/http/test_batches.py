"""Small blobs that a pilot sends back to back."""

import json
import struct
from typing import Any

import pytest

from node.http.json import ApiError
from node.http.pilots import unpack_batch
from node.store.blobs import digest_of


def batch(listed: Any, *contents: bytes) -> bytes:
    head = listed if isinstance(listed, bytes) else json.dumps(listed).encode()
    return struct.pack(">I", len(head)) + head + b"".join(contents)


def test_contents_come_out_in_order() -> None:
    listed = [[digest_of(b"one").hex(), 3], [digest_of(b"").hex(), 0]]
    assert unpack_batch(batch(listed, b"one")) == [b"one", b""]


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", b"\xff\xff\xff\xffx", batch(b"[" * 10_000), batch(b"{"), batch([5]),
     batch([["zz", 1]], b"x"), batch(b'[["ab", 1e999]]'), batch(b'[["ab", NaN]]'),
     batch([["ab", "x"]]), batch([["ab", -1], ["ab", 1]]), batch([["ab", 2**70]], b"x"),
     batch([["00" * 32, 1]], b"x"), batch([[digest_of(b"x").hex(), 1]], b"xy")],
)  # fmt: skip
def test_what_is_no_batch_is_refused(data: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        unpack_batch(data)
    assert refused.value.status == 400

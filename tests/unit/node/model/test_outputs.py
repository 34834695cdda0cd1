"""Lists of outputs come from pilots: nothing in them is believed."""

import json
from typing import Any

import pytest

from node.model.outputs import output_list

GOOD: dict[str, Any] = {"path": "a/b c", "digest": "0f" * 32, "size": 3, "mode": 0o644}


def test_what_a_pilot_writes_is_read() -> None:
    entries = [GOOD, {**GOOD, "path": "\x1b[31m~é", "size": 0, "mode": 0}]
    assert output_list(json.dumps(entries).encode()) == entries
    assert output_list(json.dumps([{**GOOD, "more": 1}]).encode()) == [GOOD]
    assert output_list(b"[]") == []


@pytest.mark.parametrize(
    "data",
    [b"", b"not json", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"a": 1}', b"5", b'["x"]', b"[1e999]",
     b"[null]", b"[[]]", json.dumps([GOOD] * 10_001).encode()],
)  # fmt: skip
def test_what_is_no_list_of_files_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        output_list(data)


@pytest.mark.parametrize(
    "wrong",
    [{"path": path} for path in ("../../etc/passwd", "/etc/x", "a/../b", "", ".", "a//b", "a/",
                                 "n\0ul", "a\ud800b", "x" * 5000, 5, None)]
    + [{"digest": digest} for digest in ("zz", 5, "0F" * 32, "0f" * 31, None)]
    + [{"size": size} for size in (-1, 2**63, 1.0, "1", True, None)]
    + [{"mode": mode} for mode in (-1, 0o4755, "x", 1.5, None)],
)  # fmt: skip
def test_one_wrong_field_spoils_the_list(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        output_list(json.dumps([GOOD, {**GOOD, **wrong}]).encode())

"""Programs that cannot be started say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilot.program import NotFound, Program
from pilot.spawn import start


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/no/such/python3 -u\n", "its interpreter /no/such/python3, named after #!, is not"),
        (b"#!/bin/sh\r\necho hi\r\n", "its lines end as on Windows (CRLF)"),
        (b"#!/no/\x1b[2J\n", r"/no/\x1b[2J"),
    ],
)
def test_a_script_without_its_interpreter_names_it(
    tmp_path: Path, content: bytes, words: str
) -> None:
    script = tmp_path / "run.sh"
    script.write_bytes(content)
    script.chmod(0o755)
    with pytest.raises(NotFound) as caught:
        start(Program(str(script), ["./run.sh"], {}), [])
    assert words in str(caught.value)
    assert caught.value.status == 127

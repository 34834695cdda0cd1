"""What people write: descriptions of datasets, tables of rows, names, ranges, settings."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from node import config
from node.cli.names import parse_jobs, parse_name
from node.model import after, rows, units
from node.model.document import load
from node.model.problems import Invalid
from tests.fuzz.forms import JSON, TEXT
from tests.fuzz.target import Target
from tests.unit.node.model.drafts import NONCE, resolve, small

TOML = b"""floe = 1
name = "nugen-26"
jobs = 25_000
[params]
seed = "{20000 + job}"
[matrix]
energy = [1, 10]
[env]
wrap = ["/cvmfs/env", "icetray/v1.10.0"]
vars = { A = "{seed}" }
[[task]]
name = "sim"
needs = { memory = "2GB", disk = "5GB", time = "4h" }
outputs = ["sim.npz"]
[[task.module]]
run = ["python3", "gen.py", "--seed", "{seed}"]
[[task]]
name = "reco"
after = ["sim", "other/sim:*"]
inputs = { "sim.npz" = "sim/sim.npz" }
needs = { gpu = 1, memory = "8GB", time = "2h" }
[[task.module]]
run = ["python3", "reco.py", "sim.npz"]
"""
CONFIG = b"""name = "desy"
[api]
listen = "127.0.0.1:7420"
[site.local]
pilots_min = 1
pilots_max = 8
[mesh]
listen = "0.0.0.0:7421"
addresses = ["desy.example.org:7421"]
"""
CSV = b'run,file,energy\n1,"a,b",10\n2,c,-3\n'
LINES = b'{"run": 1, "file": "a"}\n\n{"run": 2, "file": "b"}\n'


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


@cache
def _nowhere() -> Path:
    """An empty folder: descriptions find no files."""
    folder = tempfile.TemporaryDirectory(prefix="icefloe-fuzz-")
    _kept.append(folder)
    return Path(folder.name)


_kept: list[Any] = []


def read_description(data: bytes) -> bytes:
    text = _text(data)
    if '"files"' in text or "files" in text or "file" in text:
        text = text.replace("file", "fil_")  # what they name is on this machine
    return load(text, _nowhere()).build(resolve, NONCE).document


def read_rows(data: bytes) -> rows.RowTable:
    path = _nowhere() / "rows"
    path.write_bytes(data)
    try:
        table = rows.scan(path)
        # A table that was taken is read again, row by row, when its units are given out.
        again = rows.RowFile(path, table.format, table.columns)
        assert again.rows == table.rows, "rows that are counted in two ways"
        last = again.row(table.rows - 1)
        assert last == dict(table.last), f"{last} is not {table.last}"
        return table
    finally:
        path.unlink()


def _descriptions() -> Mapping[str, bytes]:
    rows_inline = small(foreach={"rows": [{"run": 1}, {"run": 2}]}, jobs=3)
    return {
        "toml": TOML,
        "json": json.dumps(small()).encode(),
        "rows": json.dumps(rows_inline).encode(),
    }


TARGETS = (
    Target("description", read_description, (Invalid,), _descriptions, TEXT, bytes_max=40_000),
    Target(
        "description-json",
        read_description,
        (Invalid,),
        lambda: {name: data for name, data in _descriptions().items() if name != "toml"},
        JSON,
    ),
    Target("rows-csv", read_rows, (rows.BadRows,), lambda: {"csv": CSV, "lines": LINES}, TEXT),
    Target(
        "settings",
        lambda data: config.parse(_text(data)),
        (config.ConfigError,),
        lambda: {"some": CONFIG, "none": b""},
        TEXT,
    ),
    Target(
        "size",
        lambda data: units.parse_size(_text(data)),
        (ValueError,),
        lambda: {"size": b"2.5GB", "binary": b"4 GiB"},
        TEXT,
    ),
    Target(
        "time",
        lambda data: units.parse_time(_text(data)),
        (ValueError,),
        lambda: {"time": b"4h", "part": b"1.5 m"},
        TEXT,
    ),
    Target(
        "after",
        lambda data: after.parse(_text(data)),
        (after.BadAfter,),
        lambda: {"task": b"sim", "other": b"other/sim", "all": b"other/sim:*"},
        TEXT,
    ),
    Target(
        "unit-name",
        lambda data: parse_name(_text(data)),
        (ValueError,),
        lambda: {"unit": b"nugen-26/417/reco#2", "set": b"nugen-26"},
        TEXT,
    ),
    Target(
        "job-ranges",
        lambda data: parse_jobs(_text(data)),
        (ValueError,),
        lambda: {"some": b"1-10:2,40,7-9", "all": b"all"},
        TEXT,
    ),
)

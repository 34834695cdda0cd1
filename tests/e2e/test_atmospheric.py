"""The physics example gives the same arrays through Icefloe as by a plain shell loop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.site import Site

EXAMPLE = Path(__file__).parents[2] / "examples" / "atmospheric"
JOBS, EVENTS = 3, 120


@pytest.fixture(scope="module")
def small_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as it is, with fewer jobs and events."""
    folder = tmp_path_factory.mktemp("example")
    for path in EXAMPLE.iterdir():
        text = path.read_text() if path.is_file() else ""
        if path.name == "atmospheric.toml":
            text = text.replace("jobs = 40", f"jobs = {JOBS}")
            text = text.replace("events = 1500", f"events = {EVENTS}")
        (folder / path.name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def fetched(site: Site, small_example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the two datasets left, fetched: DIR/NAME/JOB/TASK/FILE."""
    folder = tmp_path_factory.mktemp("fetched")
    site.run("submit", str(small_example / "atmospheric.toml"))
    site.run("submit", str(small_example / "spectra.toml"))
    site.wait("spectra", 240)
    for name in ("atmospheric", "spectra"):
        site.run("fetch", name, "--to", str(folder / name))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    subprocess.run(
        ["sh", str(EXAMPLE / "plain.sh"), str(JOBS), str(folder), str(EVENTS)],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


def arrays(path: Path) -> dict[str, bytes]:
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files}


@pytest.mark.parametrize("job", range(JOBS))
@pytest.mark.parametrize(
    ("task", "file"),
    [("generate", "events.npz"), ("select", "selected.npz"), ("weight", "weighted.npz")],
)
def test_each_task_gives_the_arrays_of_the_shell_loop(
    fetched: Path, plain: Path, job: int, task: str, file: str
) -> None:
    ours = fetched / "atmospheric" / str(job) / task / file
    assert arrays(ours) == arrays(plain / "in" / str(job) / file)


def test_merged_spectra_are_those_of_the_shell_loop(fetched: Path, plain: Path) -> None:
    merged = fetched / "spectra" / "0" / "merge"
    assert arrays(merged / "spectra.npz") == arrays(plain / "spectra.npz")
    assert (merged / "spectra.png").read_bytes().startswith(b"\x89PNG")

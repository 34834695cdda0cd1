"""`floe config check` and `floe up` with a batch system: real processes, a fake OpenPBS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.home import Home
from tests.fakes.openpbs import FOLDER, configure, install
from tests.fakes.openpbs_server import Settings
from tests.unit.node.cli.conftest import Floe


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its programs come first in PATH."""
    folder = tmp_path / "pbs"
    folder.mkdir()
    programs = install(folder, Settings())
    monkeypatch.setenv(FOLDER, str(folder))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "account").mkdir()
    return folder


def test_good_settings_are_told_step_by_step(floe: Floe, home: Home, pbs: Path) -> None:
    home.config.write_text('[site.ulb]\nkind = "pbs"\n')
    done = floe("config", "check")
    assert done.status == 0, done.out
    assert "site.ulb  answers  ok  PBS" in done.out
    assert "is fine" in done.out
    assert not list(home.pilots.glob("*/*"))


def test_a_queue_that_is_not_there_is_refused_with_those_that_are(
    floe: Floe, home: Home, pbs: Path
) -> None:
    home.config.write_text('[site.ulb]\nkind = "pbs"\nqueue = "wrokq"\n')
    done = floe("config", "check")
    assert done.status == 1
    assert "there is no queue 'wrokq'" in done.out
    assert "did you mean 'workq'?" in done.out
    told = floe("config", "check", "--json").json()
    assert told["ok"] is False
    assert [each["verdict"] for each in told["findings"]] == ["ok", "refused"]
    assert floe("config", "check", "--offline").status == 0


def test_the_doctor_asks_batch_systems_too(floe: Floe, home: Home, pbs: Path) -> None:
    assert floe("init", "--name", "ulb", "--mesh-port", "0").status == 0
    with home.config.open("a") as file:
        file.write('\n[site.ulb]\nkind = "pbs"\nqueue = "wrokq"\n')
    told = {
        (each["what"], each["result"]): each for each in floe("doctor", "--json").json()["findings"]
    }
    assert told["site.ulb", "ok"]["detail"].startswith("answers: PBS")
    assert "there is no queue 'wrokq'" in told["site.ulb.queue", "FAIL"]["detail"]
    assert "workq" in told["site.ulb.queue", "FAIL"]["right"]


def test_a_refused_site_is_not_started(floe: Floe, home: Home, pbs: Path) -> None:
    assert floe("init", "--name", "ulb", "--mesh-port", "0").status == 0
    with home.config.open("a") as file:
        file.write('\n[site.ulb]\nkind = "pbs"\nqueue = "wrokq"\n')
    done = floe("up", "--detach")
    assert done.status == 1
    assert "the node was not started" in done.err
    assert "there is no queue 'wrokq'" in done.err
    assert "floe up --anyway" in done.err
    assert home.address() is None


def test_a_server_that_is_away_is_no_mistake(floe: Floe, home: Home, pbs: Path) -> None:
    configure(pbs, replace(Settings(), down=True))
    home.config.write_text('[site.ulb]\nkind = "pbs"\n')
    done = floe("config", "check")
    assert done.status == 0
    assert "not now" in done.out
    assert "as far as it can be told now" in done.out


def test_a_missing_program_is_refused(floe: Floe, home: Home, pbs: Path) -> None:
    home.config.write_text('[site.ulb]\nkind = "pbs"\ncommands = {qsub = "/opt/no/qsub"}\n')
    done = floe("config", "check")
    assert done.status == 1
    assert "no program /opt/no/qsub on this machine" in done.out

"""The plugins that a node makes of its settings."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from node.config import ApiConfig
from node.provisioning.plugins import PLUGINS
from node.provisioning.settings import SystemConfig
from node.provisioning.tools import tools_of, tunnel_of, url_of


def test_nobody_knows_beforehand_how_slurms_listings_are_marked(tmp_path: Path) -> None:
    settings = SystemConfig("cluster", "slurm")
    made = [tools_of(None, settings, tmp_path, 7422).scheduler for _ in range(2)]
    assert made[0].listing().argv != made[1].listing().argv
    assert made[0].listing().argv == made[0].listing().argv


@pytest.mark.parametrize("kind", PLUGINS)
def test_a_plugin_takes_every_setting_that_its_section_has(kind: str) -> None:
    plugin = PLUGINS[kind]
    made = inspect.signature(getattr(import_module(plugin.module), plugin.name)).parameters
    assert {argument for argument, _ in plugin.keys.values()} <= set(made)


@pytest.mark.parametrize(("port", "url"), [(None, ""), (0, "https://login:7422"),
                                           (18443, "https://login:18443")])  # fmt: skip
def test_workers_are_told_the_end_of_the_tunnel_at_the_submit_host(
    port: int | None, url: str
) -> None:
    settings = SystemConfig("cluster", "slurm", host="ana@login", tunnel=port)
    assert url_of(settings, 7422) == url
    settings = SystemConfig("cluster", "slurm", host="ana@2001:db8::5", tunnel=port)
    assert url_of(settings, 7422) == url.replace("login", "[2001:db8::5]")


@pytest.mark.parametrize(("tunnel", "listens", "word"), [
    (0, "0.0.0.0:7422", "*:7422:127.0.0.1:7422"), (18443, "10.0.0.5:7422", "*:18443:10.0.0.5:7422"),
    (0, "[::]:7422", "*:7422:[::1]:7422"),
])  # fmt: skip
def test_a_tunnel_leads_to_where_the_node_listens(tunnel: int, listens: str, word: str) -> None:
    settings = SystemConfig("cluster", "slurm", host="login", tunnel=tunnel)
    made = tunnel_of(settings, 7422, ApiConfig(listen=listens).here)
    assert made is not None
    assert made.word() == word


@pytest.mark.parametrize(("url", "address"), [
    ("", "*"), ("https://login2.maui.example:18443", "*"), ("https://127.0.0.1:18443", "127.0.0.1"),
    ("https://localhost:18443", "localhost"), ("https://[::1]:18443", "::1"),
])  # fmt: skip
def test_a_tunnel_for_pilots_on_the_submit_host_itself_needs_no_leave_for_others(
    url: str, address: str
) -> None:
    made = tunnel_of(SystemConfig("cluster", "slurm", host="login", tunnel=0, url=url), 7422, "::1")
    assert made is not None
    assert made.address == address

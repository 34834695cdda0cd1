"""Plugins and runners of the batch systems that a configuration names."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from node.provisioning.plugins import scheduler
from node.provisioning.ports import Tools
from node.provisioning.settings import SystemConfig
from schedulers.command import LocalRunner
from schedulers.runner import Runner
from schedulers.ssh import SshRunner
from schedulers.ssh_options import LOOPBACK, SshSettings, Tunnel


def tools_of(
    reactor: Any, settings: SystemConfig, run: Path, api_port: int, api_host: str = "127.0.0.1"
) -> Tools:
    """How this batch system is spoken to.

    run: a private folder for sockets. api_port, api_host: where this machine reaches the node.
    """
    more = dict(settings.more)
    if settings.kind == "slurm":
        more["mark"] = secrets.token_hex(4)  # nobody writes it into a job's name beforehand
    made = scheduler(
        settings.kind,
        settings.name,
        commands=settings.commands,
        python=settings.python,
        more=more,
    )
    tunnel = tunnel_of(settings, api_port, api_host)
    return Tools(made, _runner(reactor, settings, run, tunnel), url_of(settings, api_port))


def _runner(reactor: Any, settings: SystemConfig, run: Path, tunnel: Tunnel | None) -> Runner:
    if not settings.host:
        return LocalRunner(reactor)
    ssh = SshSettings(settings.host, tunnel=tunnel, **settings.ssh)
    return SshRunner(reactor, ssh, run / f"ssh-{settings.name}")


def tunnel_of(settings: SystemConfig, api_port: int, api_host: str) -> Tunnel | None:
    """From a port of the submit host to the node; None if workers need none."""
    if settings.tunnel is None:
        return None
    worker = urlsplit(settings.url).hostname or ""
    address = worker if worker in LOOPBACK else "*"  # for pilots on the submit host itself
    return Tunnel(settings.tunnel or api_port, api_port, api_host.strip("[]"), address)


def url_of(settings: SystemConfig, api_port: int) -> str:
    """How workers reach the node, where that is not its own address; "" where it is."""
    if settings.url or settings.tunnel is None:
        return settings.url
    host = settings.host.rpartition("@")[2]
    host = f"[{host}]" if ":" in host else host
    return f"https://{host}:{settings.tunnel or api_port}"

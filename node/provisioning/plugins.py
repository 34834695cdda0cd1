"""The plugins of batch systems by their kind, and what each of them can be told. Pure.

They are imported when one is made: a command line that only reads settings has no use for most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, cast

from node.readers import Reader, flag, names, string
from schedulers.base import Scheduler


@dataclass(frozen=True, slots=True)
class Plugin:
    """Where a plugin is. keys: key in the file -> (its argument, reader), beyond those of all."""

    module: str
    name: str
    keys: Mapping[str, tuple[str, Reader]] = field(default_factory=dict)


def _word(value: object) -> str:
    """Resources and their like; "" for one that is not asked for."""
    text = string(value)
    if text and not (text.isascii() and text.replace("_", "").replace("-", "").isalnum()):
        raise ValueError("is no name of a resource; letters, digits, - and _ only")
    return text


def _daemon(value: object) -> str:
    text = string(value)
    if not text.isprintable() or text.startswith("-") or " " in text:
        raise ValueError('is no address; write "HOST", "NAME@HOST" or "HOST:PORT"')
    return text


_NAMES: Final = {"gpu_name": ("gpu", _word), "disk_name": ("disk", _word)}
PLUGINS: Final[Mapping[str, Plugin]] = {
    "slurm": Plugin("schedulers.slurm", "Slurm"),
    "htcondor": Plugin(
        "schedulers.htcondor",
        "HTCondor",
        {"schedd": ("schedd", _daemon), "pool": ("pool", _daemon)},
    ),
    "sge": Plugin(
        "schedulers.sge",
        "Sge",
        {
            "pe": ("pe", _word),
            "memory_name": ("memory", _word),
            **_NAMES,
            "per_job": ("per_job", names),
        },
    ),
    "pbs": Plugin("schedulers.pbs", "Pbs", _NAMES),
    "torque": Plugin("schedulers.torque", "Torque", {**_NAMES, "arrays": ("arrays", flag)}),
}


def scheduler(
    kind: str, name: str, *, commands: Mapping[str, str], python: str, more: Mapping[str, Any]
) -> Scheduler:
    """The plugin of a kind. Raises ValueError for commands that the batch system does not have."""
    plugin = PLUGINS[kind]
    made = getattr(import_module(plugin.module), plugin.name)
    return cast(Scheduler, made(name, commands=commands or None, python=python, **more))

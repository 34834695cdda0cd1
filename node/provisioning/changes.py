"""What it means that the settings of a batch system are others now. Pure."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from node.provisioning.settings import SYSTEM, SystemConfig

_SPOKEN: Final = ("kind", "host", "url", "tunnel", "ssh", "python", "commands", "more")
_OTHERS: Final = {
    "factories": "kinds of pilots", "ssh": "how ssh is used", "more": "names of resources",
}  # fmt: skip


class CannotChange(Exception):
    """Settings that cannot be changed now; the message says why, and what to do first."""


def where(settings: SystemConfig) -> tuple[object, ...]:
    """Which batch system this is."""
    more = (settings.more.get(key, "") for key in ("schedd", "pool"))
    return settings.kind, settings.host, settings.ssh.get("port"), *more


def elsewhere(old: SystemConfig, new: SystemConfig) -> bool:
    """Whether it is spoken to in another way."""
    return any(getattr(old, name) != getattr(new, name) for name in _SPOKEN)


def differences(old: SystemConfig, new: SystemConfig) -> list[str]:
    """As the file calls them."""
    keys = {field: key for key, (field, _) in SYSTEM.items()} | _OTHERS
    names = (each.name for each in fields(SystemConfig))
    changed = (name for name in names if getattr(old, name) != getattr(new, name))
    return [keys.get(name, name) for name in changed]

"""[site.NAME]: a batch system, the pilots that are submitted there, and how gently. Pure.

NAME is the admin's; several batch systems of one kind may be used by one node. Pilots are of the
shape that the section describes, or of those in `[[site.NAME.pilot]]`; what is not said there is
taken from the units that are ready.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from node.provisioning.plugins import PLUGINS, scheduler
from node.readers import (
    NAME,
    Reader,
    duration,
    flag,
    names,
    refuse_unknown,
    size,
    string,
    values_of,
    whole,
)
from schedulers.ssh_options import SshSettings

SYSTEMS_MAX = 32
FACTORIES_MAX = 32
WORDS_MAX = 64  # options, lines
WORD_CHARS_MAX = 1000
COUNT_MAX = 100_000  # pilots
SUBMIT_MAX = 1000  # pilots in one submission
LOOK_S_MIN = 1
TIME_S_MIN = 120  # of a pilot: less is over before it is up
TIMES_MAX = 12
SESSIONS_MAX = 64  # commands at once on a submit host
HOUR_S = 3600
TIMES_S: Final = (2 * HOUR_S, 8 * HOUR_S, 24 * HOUR_S, 72 * HOUR_S)
MAIN: Final = "default"  # the factory that a section itself describes
_COMMAND = re.compile(r"[a-z][a-z0-9_]{1,30}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:\[\]-]{0,254}")
_PLAIN = re.compile(r"[\w.@:/,+=-]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Factory:
    """Makes pilots of one shape; what is None follows the units that are ready."""

    name: str = MAIN
    cpu: int | None = None
    gpu: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    times_s: tuple[int, ...] = TIMES_S  # walltime classes, shortest first
    queue: str = ""
    account: str = ""
    options: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    queued_max: int = COUNT_MAX
    running_max: int = COUNT_MAX


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """One batch system. The factories are complete: the section's own words are in them."""

    name: str
    kind: str
    factories: tuple[Factory, ...] = (Factory(),)
    pilots_min: int = 0  # kept even when there is nothing to do
    queued_max: int = 20  # pilots that have not started
    running_max: int = 100  # pilots that run, or would if all queued ones started
    submit_max: int = 20  # pilots in one submission
    submit_s: int = 30  # at most one submission in so long
    look_s: int = 30  # between two listings
    announce_s: int = 900  # a pilot that started has so long to speak to the node
    idle_s: int = 300  # a pilot with nothing to do ends after so long
    host: str = ""  # reached by ssh; "": the node's own machine
    url: str = ""  # how workers reach the node; "": [api] url
    tunnel: int | None = None  # port of the submit host that leads to the node; 0: the node's own
    ssh: Mapping[str, Any] = field(default_factory=dict)  # of schedulers.ssh_options.SshSettings
    folder: str = ""  # of pilots' files and logs, seen by submit host and workers
    python: str = ""  # of the workers
    commands: Mapping[str, str] = field(default_factory=dict)  # the site's names for its tools
    more: Mapping[str, Any] = field(default_factory=dict)  # of the plugin of this kind

    def shown(self) -> dict[str, Any]:
        """Every setting with its value in use."""
        mine = {each.name: getattr(self, each.name) for each in fields(self)}
        mine |= {key: dict(mine[key]) for key in ("commands", "ssh", "more")}
        mine["factories"] = [
            {each.name: getattr(factory, each.name) for each in fields(Factory)}
            for factory in self.factories
        ]
        return mine


def _kind(value: object) -> str:
    if not isinstance(value, str) or value not in PLUGINS:
        raise ValueError(
            f"is no batch system that is known here; write one of {', '.join(PLUGINS)}"
        )
    return str(value)


def _words(value: object) -> tuple[str, ...]:
    found = names(value)
    if len(found) > WORDS_MAX:
        raise ValueError(f"are too many; write at most {WORDS_MAX}")
    for word in found:
        if not word or len(word) > WORD_CHARS_MAX or not word.isprintable():
            raise ValueError(f"has {word[:40]!r}, which is no line of printable characters")
    return found


def _or_none(read: Reader) -> Reader:
    """The same, or "" for the default."""
    return lambda value: value if value == "" else read(value)


def _plain(value: object) -> str:
    if not _PLAIN.fullmatch(string(value)):
        raise ValueError("is no such name; letters, digits and . _ - @ : / , + = only")
    return string(value)


def _host(value: object) -> str:
    if not _HOST.fullmatch(string(value)):
        raise ValueError('is no host for ssh; write "login2" or "ana@login2.desy.example"')
    return string(value)


def _folder(value: object) -> str:
    """Relative ones would depend on where a command happens to run."""
    if not string(value).startswith("/") or not string(value).isprintable():
        raise ValueError('is no absolute path; write such as "/scratch/ana/pilots"')
    return string(value).rstrip("/") or "/"


def _program(value: object) -> str:
    if not string(value) or not string(value).isprintable():
        raise ValueError('is no program; write "python3.11" or a path')
    return string(value)


def _url(value: object) -> str:
    if not re.fullmatch(r"https://[^\s/]+/?", string(value)):
        raise ValueError('is no address of a node; write "https://HOST:PORT"')
    return string(value).rstrip("/")


def _tunnel(value: object) -> int | None:
    """true, false or a port."""
    if isinstance(value, bool):
        return 0 if value else None
    if not isinstance(value, int) or not 1 <= value <= 65535:
        raise ValueError("is neither true nor false, nor a port of the submit host")
    return value


def _commands(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError('is no table; write {sbatch = "/opt/bin/sbatch-site"}')
    for name, program in value.items():
        if not _COMMAND.fullmatch(name):
            raise ValueError(f"has {name[:40]!r}, which is no command")
        if not isinstance(program, str) or not program or not program.isprintable():
            raise ValueError(f"gives no program for {name}")
    return dict(value)


def _look(value: object) -> int:
    if (seconds := duration(value)) < LOOK_S_MIN:
        raise ValueError(f"is too often for a batch system; write {LOOK_S_MIN}s or more")
    return seconds


def _walltime(value: object) -> int:
    if (seconds := duration(value)) < TIME_S_MIN:
        raise ValueError(f"is too short for a pilot; write {TIME_S_MIN}s or more")
    return seconds


def _times(value: object) -> tuple[int, ...]:
    """One time, or a list of classes."""
    if isinstance(value, str):
        return (_walltime(value),)
    if not isinstance(value, list) or not 1 <= len(value) <= TIMES_MAX:
        raise ValueError(f'is no list of 1 to {TIMES_MAX} times; write ["2h", "24h"]')
    return tuple(sorted({_walltime(each) for each in value}))


SHAPE: Mapping[str, tuple[str, Reader]] = {
    "cpu": ("cpu", whole(1, 4096)),
    "gpu": ("gpu", whole(0, 64)),
    "memory": ("memory_bytes", size),
    "disk": ("disk_bytes", size),
    "times": ("times_s", _times),
    "queue": ("queue", _or_none(_plain)),
    "account": ("account", _or_none(_plain)),
    "options": ("options", _words),
    "lines": ("lines", _words),
}
FACTORY: Mapping[str, tuple[str, Reader]] = {
    **SHAPE,
    "queued_max": ("queued_max", whole(0, COUNT_MAX)),
    "running_max": ("running_max", whole(0, COUNT_MAX)),
}
SYSTEM: Mapping[str, tuple[str, Reader]] = {
    "kind": ("kind", _kind),
    "pilots_min": ("pilots_min", whole(0, COUNT_MAX)),
    "queued_max": ("queued_max", whole(0, COUNT_MAX)),
    "running_max": ("running_max", whole(0, COUNT_MAX)),
    "submit_max": ("submit_max", whole(1, SUBMIT_MAX)),
    "submit_every": ("submit_s", _look),
    "look": ("look_s", _look),
    "announce": ("announce_s", _walltime),
    "idle": ("idle_s", duration),
    "host": ("host", _or_none(_host)),
    "url": ("url", _or_none(_url)),
    "tunnel": ("tunnel", _tunnel),
    "folder": ("folder", _or_none(_folder)),
    "python": ("python", _or_none(_program)),
    "commands": ("commands", _commands),
}
SSH: Mapping[str, tuple[str, Reader]] = {
    "port": ("port", whole(1, 65535)),
    "key": ("key", string),
    "known_hosts": ("known_hosts", string),
    "host_key": ("host_key", string),
    "ssh_config": ("config", string),
    "profile": ("profile", flag),
    "sessions": ("sessions", whole(1, SESSIONS_MAX)),
}


def read_systems(sites: Mapping[str, Any], problems: list[str]) -> tuple[SystemConfig, ...]:
    """All sections but [site.local]; what is wrong is added to `problems`."""
    found = []
    for name, table in sites.items():
        if name == "local":
            continue
        before = len(problems)
        if not NAME.fullmatch(name):
            problems.append(f"site.{name}  is no name; write a-z, 0-9 and -, up to 32 characters")
        if not isinstance(table, dict):
            problems.append(f"site.{name} is no table; write [site.{name}]")
        elif system := _system(name, table, problems, before):
            found.append(system)
    if len(found) > SYSTEMS_MAX:
        problems.append(f"site  has {len(found)} batch systems; at most {SYSTEMS_MAX} are kept")
    return tuple(found)


def _system(
    name: str, table: Mapping[str, Any], problems: list[str], before: int
) -> SystemConfig | None:
    """None if anything since `before` is wrong."""
    place = f"site.{name}."
    kind = table.get("kind")
    plugin = PLUGINS.get(kind) if isinstance(kind, str) else None
    keys = {} if plugin is None else plugin.keys
    refuse_unknown(table, place, [*SYSTEM, *SHAPE, *SSH, *keys, "pilot"], problems)
    if kind is None:
        problems.append(f"{place}kind  is missing; write one of {', '.join(PLUGINS)}")
    mine = values_of(table, place, SYSTEM, problems)
    own = values_of(table, place, SHAPE, problems)
    ssh = values_of(table, place, SSH, problems)
    more = values_of(table, place, keys, problems)
    factories = _factories(table.get("pilot"), own, place, problems)
    if len(problems) > before:
        return None
    if more.get("arrays") is False:
        mine["submit_max"] = 1  # a submission is one job
    system = SystemConfig(name=name, factories=factories, ssh=ssh, more=more, **mine)
    _check(system, place, problems)
    return system


def _factories(
    listed: object, own: Mapping[str, Any], place: str, problems: list[str]
) -> tuple[Factory, ...]:
    common: dict[str, Any] = {**own}
    if listed is None:
        return (Factory(**common),)
    if not isinstance(listed, list) or not 1 <= len(listed) <= FACTORIES_MAX:
        problems.append(f"{place}pilot  is no list of tables; write [[{place}pilot]]")
        return ()
    found: list[Factory] = []
    for number, table in enumerate(listed):
        here = f"{place}pilot[{number}]."
        if not isinstance(table, dict):
            problems.append(f"{here[:-1]}  is no table; write [[{place}pilot]]")
            continue
        refuse_unknown(table, here, ["name", *FACTORY], problems)
        mine = values_of(table, here, {"name": ("name", _factory_name), **FACTORY}, problems)
        for key in ("options", "lines"):
            mine[key] = (*common.get(key, ()), *mine.get(key, ()))
        mine.setdefault("name", f"pilot{number}")
        if any(mine["name"] == each.name for each in found):
            problems.append(f"{here}name  {mine['name']!r} is there twice; give each its own")
        found.append(Factory(**{**common, **mine}))
    return tuple(found)


def _factory_name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is no name; write a-z, 0-9 and -, up to 32 characters")
    return value


def _check(system: SystemConfig, place: str, problems: list[str]) -> None:
    """What is wrong only in the company of other settings."""
    if system.pilots_min > system.running_max:
        problems.append(f"{place}pilots_min is more than {place}running_max")
    if system.pilots_min and system.factories[0].cpu is None:
        problems.append(f"{place}pilots_min  needs a shape of its own; say cpu and memory, too")
    if system.tunnel is not None and not system.host:
        problems.append(f"{place}tunnel  goes through a submit host; say host, too")
    if system.ssh and not system.host:
        problems.append(f"{place}{min(system.ssh)}  is for a submit host; say host, too")
    try:
        check_tools(system)
    except ValueError as error:
        problems.append(f"{place[:-1]}  {error}")


def check_tools(system: SystemConfig) -> None:
    """Whether it can be spoken to in this way. Raises ValueError."""
    scheduler(
        system.kind, system.name, commands=system.commands, python=system.python, more=system.more
    )
    if system.host:
        SshSettings(system.host, **system.ssh)


def factory_of(system: SystemConfig, name: str) -> Factory | None:
    """The factory of this name, if there is one still."""
    return next((each for each in system.factories if each.name == name), None)

"""Settings of a site: config.toml in its home, read once at start, all mistakes told at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from federation.address import PORT as MESH_PORT
from federation.address import BadAddress, with_port
from node.provisioning.settings import SystemConfig, read_systems
from node.readers import (
    Reader,
    addresses,
    duration,
    flag,
    listen,
    names,
    patience,
    refuse_unknown,
    section,
    site_name,
    size,
    string,
    table_of,
    values_of,
    whole,
)

CONFIG_BYTES_MAX = 1024 * 1024
LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # of who listens everywhere


class ConfigError(Exception):
    """config.toml cannot be used; the message lists every problem with its place."""


@dataclass(frozen=True, slots=True)
class ApiConfig:
    listen: str = "127.0.0.1:0"  # HOST:PORT; port 0 takes a free one and keeps it from then on
    url: str = ""  # how pilots and people reach the API, where that is not the address above
    names: tuple[str, ...] = ()  # more host names in the certificate
    metrics: bool = False  # show /metrics to whoever reaches the port, as Prometheus needs it

    def told(self, port: int, host: str) -> tuple[str, ...]:
        """Addresses that pilots on other machines are told; they try one after the other.

        port: the one it listens on; host: this machine's name.
        """
        if self.url:
            return (self.url,)
        listened, here = self.listen.rpartition(":")[0], self.here
        hosts = (listened,) if here == listened else (host, here)
        return tuple(f"https://{each}:{port}" for each in hosts)

    @property
    def here(self) -> str:
        """The address at which programs of this machine reach it."""
        listened = self.listen.rpartition(":")[0]
        return LOOPBACK.get(listened, listened)


@dataclass(frozen=True, slots=True)
class StoreConfig:
    network_home: bool = False  # allow a home on a network file system
    host: str = ""  # what this host is called for all time; "": its machine id, or its name
    blobs_bytes_max: int = 100 * 10**9  # quota of the blob folder
    free_bytes_min: int = 200 * 10**6  # below it nothing new is taken in


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """[site.local]: pilots as child processes on the node's own machine."""

    pilots_min: int = 0  # kept even when there is nothing to do
    pilots_max: int = 1
    slots: int = field(default_factory=lambda: os.cpu_count() or 1)  # units at once, each pilot
    gpus: int = 0
    memory_bytes: int = 0  # for all units of a pilot; 0: the machine's memory / pilots_max
    disk_bytes: int = 0  # 0: what is free / pilots_max
    idle_s: int = 300  # a pilot with nothing to do ends after so long


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """[mesh]: how other sites reach this one."""

    listen: str = f"0.0.0.0:{MESH_PORT}"  # HOST:PORT; port 0 takes a free one
    addresses: tuple[str, ...] = ()  # HOST or HOST:PORT as others dial it; none: this host's name
    dial_only: bool = False  # listen to nobody: behind a firewall
    users: bool = True  # let people submit here whom other members enrolled
    vote_after_s: int = 1800  # so long a leader may be silent before another one is voted for
    lost_after_s: int = 3600  # so long an owner may be silent before others get its units
    unreachable_after_s: int = 180  # so long a site may be silent before it is shown as that
    hold_s: int = 7200  # so much work this site asks for at once, to outlive an outage

    def told(self, port: int, host: str) -> tuple[str, ...]:
        """Addresses that this site tells others.

        port: the one it listens on; host: this machine's name, for want of anything better.
        """
        if self.dial_only:
            return ()
        listened = self.listen.rpartition(":")[0]
        wanted = self.addresses or (host if listened in ("0.0.0.0", "[::]") else listened,)
        full = []
        for address in wanted:
            with suppress(BadAddress):  # such as a host whose name cannot be one
                full.append(with_port(address, port))
        return tuple(full)


@dataclass(frozen=True, slots=True)
class Config:
    name: str = "site"
    api: ApiConfig = field(default_factory=ApiConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    local: LocalConfig = field(default_factory=LocalConfig)
    systems: tuple[SystemConfig, ...] = ()  # the other [site.NAME]: batch systems
    mesh: MeshConfig = field(default_factory=MeshConfig)

    def on_network_home(self) -> Config:
        """The same, with a home on a network file system allowed."""
        return replace(self, store=replace(self.store, network_home=True))


# Key in the file -> (field, reader). One table a section, so that `floe config` can list them.
API: Mapping[str, tuple[str, Reader]] = {
    "listen": ("listen", listen),
    "url": ("url", string),
    "names": ("names", names),
    "metrics": ("metrics", flag),
}
STORE: Mapping[str, tuple[str, Reader]] = {
    "network_home": ("network_home", flag),
    "host": ("host", string),
    "blobs_max": ("blobs_bytes_max", size),
    "free_min": ("free_bytes_min", size),
}
MESH: Mapping[str, tuple[str, Reader]] = {
    "listen": ("listen", listen),
    "addresses": ("addresses", addresses),
    "dial_only": ("dial_only", flag),
    "users": ("users", flag),
    "vote_after": ("vote_after_s", duration),
    "lost_after": ("lost_after_s", duration),
    "unreachable_after": ("unreachable_after_s", patience),
    "hold": ("hold_s", duration),
}
LOCAL: Mapping[str, tuple[str, Reader]] = {
    "pilots_min": ("pilots_min", whole(0, 1000)),
    "pilots_max": ("pilots_max", whole(0, 1000)),
    "slots": ("slots", whole(1, 4096)),
    "gpus": ("gpus", whole(0, 64)),
    "memory": ("memory_bytes", size),
    "disk": ("disk_bytes", size),
    "idle": ("idle_s", duration),
}


def load(path: Path) -> Config:
    """Read config.toml; a missing file means every default. Raises ConfigError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {CONFIG_BYTES_MAX:,} bytes")
    try:
        return parse(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(text: str) -> Config:
    """Settings from the text of a config.toml. Raises ConfigError with every problem."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML errors, and numbers without end
        raise ConfigError(f"is no TOML: {error}") from None
    problems: list[str] = []
    sites = table_of(document, "site", problems)
    refuse_unknown(document, "", ["name", "api", "store", "site", "mesh"], problems)
    config = Config(
        api=ApiConfig(**section(document, "api", API, problems)),
        store=StoreConfig(**section(document, "store", STORE, problems)),
        local=LocalConfig(**section(sites, "local", LOCAL, problems, "site.")),
        systems=read_systems(sites, problems),
        mesh=MeshConfig(**section(document, "mesh", MESH, problems)),
        **values_of(document, "", {"name": ("name", site_name)}, problems),
    )
    if config.systems and "local" not in sites:
        config = replace(config, local=replace(config.local, pilots_max=0))
    if config.local.pilots_min > config.local.pilots_max:
        problems.append("site.local.pilots_min is more than site.local.pilots_max")
    if config.mesh.dial_only and config.mesh.addresses:
        problems.append("mesh.addresses  are never dialled while mesh.dial_only is true; drop one")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError("\n  ".join([count, *problems]))
    return config


def as_tables(config: Config) -> dict[str, Any]:
    """Every setting with its value in use, as `floe config` shows it."""

    def shown(value: object) -> dict[str, Any]:
        return {f.name: getattr(value, f.name) for f in fields(value)}  # type: ignore[arg-type]

    return {
        "name": config.name,
        "api": shown(config.api),
        "store": shown(config.store),
        "site.local": shown(config.local),
        **{f"site.{system.name}": system.shown() for system in config.systems},
        "mesh": shown(config.mesh),
    }

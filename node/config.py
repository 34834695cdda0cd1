"""Settings of a site: config.toml in its home, read once at start, all mistakes told at once."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from federation.address import PORT as MESH_PORT
from federation.address import RIGHT as ADDRESS_RIGHT
from federation.address import BadAddress, with_port
from federation.limits import ADDRESSES_MAX
from node.model.units import SIZE_RIGHT, TIME_RIGHT, parse_size, parse_time

CONFIG_BYTES_MAX = 1024 * 1024
PATIENCE_S_MIN = 6
NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class ConfigError(Exception):
    """config.toml cannot be used; the message lists every problem with its place."""


@dataclass(frozen=True, slots=True)
class ApiConfig:
    listen: str = "127.0.0.1:0"  # HOST:PORT; port 0 takes a free one and keeps it from then on
    url: str = ""  # how pilots and people reach the API, where that is not the address above
    names: tuple[str, ...] = ()  # more host names in the certificate
    metrics: bool = False  # show /metrics to whoever reaches the port, as Prometheus needs it


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
    mesh: MeshConfig = field(default_factory=MeshConfig)

    def on_network_home(self) -> Config:
        """The same, with a home on a network file system allowed."""
        return replace(self, store=replace(self.store, network_home=True))


def _size(value: object) -> int:
    """Bytes of "2GB" or "2GiB"."""
    try:
        return parse_size(_string(value))
    except ValueError as error:
        raise ValueError(f"is no size; {SIZE_RIGHT}") from error


def _time(value: object) -> int:
    """Seconds of "90s", "30m", "4h" or "2d"."""
    try:
        return parse_time(_string(value))
    except ValueError as error:
        raise ValueError(f"is no time; {TIME_RIGHT}") from error


def _patience(value: object) -> int:
    """Seconds; a third of it lies between two beacons, of which at most one a second goes out."""
    if (seconds := _time(value)) < PATIENCE_S_MIN:
        raise ValueError(f"is too short; write {PATIENCE_S_MIN}s or more")
    return seconds


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no string")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError("is no site name; write a-z, 0-9 and -, up to 32 characters")
    return value


def _listen(value: object) -> str:
    host, colon, port = _string(value).rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError('is no address; write "HOST:PORT", such as "127.0.0.1:0"')
    return _string(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("is no list of names")
    return tuple(value)


def _addresses(value: object) -> tuple[str, ...]:
    """`HOST` or `HOST:PORT` each."""
    found = _names(value)
    if len(found) > ADDRESSES_MAX:
        raise ValueError(f"are too many; name at most {ADDRESSES_MAX}")
    try:
        for address in found:
            with_port(address, MESH_PORT)
    except BadAddress as error:
        raise ValueError(f"cannot be dialled: {error}; {ADDRESS_RIGHT}") from None
    return found


def _count(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"is no whole number from {low} to {high:,}")
        return value

    return read


Reader = Callable[[object], Any]
# Key in the file -> (field, reader). One table a section, so that `floe config` can list them.
API: Mapping[str, tuple[str, Reader]] = {
    "listen": ("listen", _listen),
    "url": ("url", _string),
    "names": ("names", _names),
    "metrics": ("metrics", _flag),
}
STORE: Mapping[str, tuple[str, Reader]] = {
    "network_home": ("network_home", _flag),
    "host": ("host", _string),
    "blobs_max": ("blobs_bytes_max", _size),
    "free_min": ("free_bytes_min", _size),
}
MESH: Mapping[str, tuple[str, Reader]] = {
    "listen": ("listen", _listen),
    "addresses": ("addresses", _addresses),
    "dial_only": ("dial_only", _flag),
    "users": ("users", _flag),
    "vote_after": ("vote_after_s", _time),
    "lost_after": ("lost_after_s", _time),
    "unreachable_after": ("unreachable_after_s", _patience),
    "hold": ("hold_s", _time),
}
LOCAL: Mapping[str, tuple[str, Reader]] = {
    "pilots_min": ("pilots_min", _count(0, 1000)),
    "pilots_max": ("pilots_max", _count(0, 1000)),
    "slots": ("slots", _count(1, 4096)),
    "gpus": ("gpus", _count(0, 64)),
    "memory": ("memory_bytes", _size),
    "disk": ("disk_bytes", _size),
    "idle": ("idle_s", _time),
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
    sites = _table(document, "site", problems)
    _unknown(document, "", ["name", "api", "store", "site", "mesh"], problems)
    _unknown(sites, "site.", ["local"], problems)
    config = Config(
        api=ApiConfig(**_section(document, "api", API, problems)),
        store=StoreConfig(**_section(document, "store", STORE, problems)),
        local=LocalConfig(**_section(sites, "local", LOCAL, problems, "site.")),
        mesh=MeshConfig(**_section(document, "mesh", MESH, problems)),
        **_values(document, "", {"name": ("name", _name)}, problems),
    )
    if config.local.pilots_min > config.local.pilots_max:
        problems.append("site.local.pilots_min is more than site.local.pilots_max")
    if config.mesh.dial_only and config.mesh.addresses:
        problems.append("mesh.addresses  are never dialled while mesh.dial_only is true; drop one")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError("\n  ".join([count, *problems]))
    return config


def _table(document: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, Any]:
    table = document.get(key, {})
    if isinstance(table, dict):
        return table
    problems.append(f"{key} is no table; write [{key}]")
    return {}


def _section(
    document: Mapping[str, Any],
    key: str,
    known: Mapping[str, tuple[str, Reader]],
    problems: list[str],
    prefix: str = "",
) -> dict[str, Any]:
    table = _table(document, key, problems)
    _unknown(table, f"{prefix}{key}.", list(known), problems)
    return _values(table, f"{prefix}{key}.", known, problems)


def _values(
    table: Mapping[str, Any],
    prefix: str,
    known: Mapping[str, tuple[str, Reader]],
    problems: list[str],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (name, read) in known.items():
        if key not in table:
            continue
        try:
            found[name] = read(table[key])
        except ValueError as error:
            problems.append(f"{prefix}{key}  {table[key]!r} {error}")
    return found


def _unknown(table: Mapping[str, Any], prefix: str, known: list[str], problems: list[str]) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
            problems.append(f"{prefix}{key}  is unknown; {hint}")


def as_tables(config: Config) -> dict[str, Any]:
    """Every setting with its value in use, as `floe config` shows it."""

    def section(value: object) -> dict[str, Any]:
        return {f.name: getattr(value, f.name) for f in fields(value)}  # type: ignore[arg-type]

    return {
        "name": config.name,
        "api": section(config.api),
        "store": section(config.store),
        "site.local": section(config.local),
        "mesh": section(config.mesh),
    }

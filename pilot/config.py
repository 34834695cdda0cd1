"""The pilot's settings: one JSON file that only its owner can read. Nothing secret is in argv."""

import json
import os
import stat
from typing import Any, List, Mapping, Optional


class BadSettings(Exception):
    """The settings cannot be used; the message says why and what to do."""


class Settings:
    """What the node wrote for this pilot.

    urls, fingerprint, token: where the node is, how to know it, what to say. tag: the node's name
    for this submission. system: the batch system to which it went, "" for none or any. work_dir:
    scratch and cache go below it; "" for where the batch system wants them. hide: paths that
    payloads shall not see. isolation: "auto" (the best that works here), "full", "group".
    grace_s: from SIGTERM to the end. lifetime_s: wall time that the node asked for, or None.
    idle_s: leave after so long without work, or None. The others go before what is found here, but
    not beyond what a batch system granted.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        try:
            self.urls: List[str] = [str(url) for url in table["urls"]]
            self.fingerprint = str(table["fingerprint"])
            self.token = str(table["token"])
        except (KeyError, TypeError) as fault:
            raise BadSettings("the settings lack %s" % fault) from fault
        work_dir = str(table.get("work_dir") or "")
        self.work_dir = os.path.abspath(work_dir) if work_dir else ""
        self.tag = str(table.get("tag", ""))
        self.system = str(table.get("system") or "")
        self.hide = [str(path) for path in table.get("hide") or []]
        self.isolation = str(table.get("isolation", "auto"))
        self.grace_s = float(table.get("grace_s", 15))
        self.cpus = _optional_int(table.get("cpu", table.get("slots")))
        self.memory_bytes = _optional_int(table.get("memory_bytes"))
        self.disk_bytes = _optional_int(table.get("disk_bytes"))
        self.cache_bytes = _optional_int(table.get("cache_bytes"))
        self.gpus = [str(gpu) for gpu in table["gpus"]] if table.get("gpus") is not None else None
        self.lifetime_s = _optional_float(table.get("lifetime_s"))
        self.idle_s = _optional_float(table.get("idle_s"))
        if self.isolation not in ("auto", "full", "group"):
            raise BadSettings('isolation is "auto", "full" or "group"')


def read(path: str) -> Settings:
    """Read a settings file. Raises BadSettings, also when others could read the token."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(1 << 20)
    except OSError as fault:
        raise BadSettings("%s: %s" % (path, fault.strerror)) from fault
    if stat.S_IMODE(mode) & 0o077:
        raise BadSettings("%s can be read by others: chmod 600 it" % path)
    try:
        table = json.loads(data.decode())
    except (ValueError, RecursionError) as fault:
        raise BadSettings("%s is no JSON: %s" % (path, fault)) from fault
    if not isinstance(table, dict):
        raise BadSettings("%s is no JSON object" % path)
    try:
        return Settings(table)
    except (ValueError, TypeError, OverflowError) as fault:
        raise BadSettings("%s has a setting that is none: %s" % (path, fault)) from fault


def _optional_int(value: Any) -> Optional[int]:
    return None if value is None else int(value)


def _optional_float(value: Any) -> Optional[float]:
    return None if value is None else float(value)

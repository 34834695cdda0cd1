"""SQL for workers that get no units: site-local rows that nobody folds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import apsw

KEPT_MAX: Final = 1000  # those that end last


@dataclass(frozen=True, slots=True)
class BanRow:
    """One banned host. names: (batch system, how it calls the host)."""

    host: str
    until_ms: int
    bans: int
    why: str
    names: tuple[tuple[str, str], ...] = ()


def bans(conn: apsw.Connection) -> list[BanRow]:
    """All that are kept, the one that ends first first."""
    sql = "SELECT host, until_ms, bans, why, names FROM host_ban ORDER BY until_ms, host"
    return [
        BanRow(host, until_ms, count, why, tuple((a, b) for a, b in json.loads(names)))
        for host, until_ms, count, why, names in conn.execute(sql)
    ]


def write(conn: apsw.Connection, rows: Iterable[BanRow], gone: Sequence[str]) -> None:
    """New bans, or what is new of them; `gone` ran units well again."""
    packed = json.dumps([[each.host, each.until_ms, each.bans, each.why, json.dumps(each.names)]
                         for each in rows])  # fmt: skip
    conn.execute(
        "INSERT OR REPLACE INTO host_ban(host, until_ms, bans, why, names) SELECT value ->> 0,"
        " value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)",
        (packed,),
    )
    conn.execute(
        "DELETE FROM host_ban WHERE host IN (SELECT value FROM json_each(?)) OR host NOT IN"
        " (SELECT host FROM host_ban ORDER BY until_ms DESC LIMIT ?)",
        (json.dumps(list(gone)), KEPT_MAX),
    )

"""SQL for the edge: who is enrolled, and which datasets and orders the log has already."""

from __future__ import annotations

import json
from dataclasses import dataclass

import apsw


@dataclass(frozen=True, slots=True)
class PersonRow:
    key: bytes
    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatasetKey:
    """A dataset as far as orders about it need to know it."""

    no: int
    id: bytes
    name: str
    person: bytes
    shard: bytes
    jobs: int
    tasks: int


def enrolled(conn: apsw.Connection, site: bytes) -> list[PersonRow]:
    """Everybody who is enrolled at a site now."""
    rows = conn.execute(
        "SELECT key, name, groups, roles FROM person WHERE active AND"
        " site = (SELECT no FROM site WHERE key = ?)",
        (site,),
    )
    return [
        PersonRow(key, name, tuple(json.loads(groups)), tuple(json.loads(roles)))
        for key, name, groups, roles in rows
    ]


def person_order_seen(conn: apsw.Connection, id: bytes) -> bool:
    """Whether the log has this signed document about a person."""
    return bool(conn.execute("SELECT 1 FROM person_order WHERE id = ?", (id,)).get)


def command_seen(conn: apsw.Connection, id: bytes) -> bool:
    """Whether the log has this order about a dataset."""
    return bool(conn.execute("SELECT 1 FROM command WHERE id = ?", (id,)).get)


def dataset_by_id(conn: apsw.Connection, id: bytes) -> DatasetKey | None:
    row = conn.execute(
        "SELECT dataset.no, dataset.id, dataset.name, person, shard.id, jobs,"
        " (SELECT count(*) FROM task WHERE task.dataset = dataset.no)"
        " FROM dataset JOIN shard ON shard.no = dataset.shard WHERE dataset.id = ?",
        (id,),
    ).fetchone()
    return None if row is None else DatasetKey(*row)


def command_heads(conn: apsw.Connection, dataset: int) -> list[bytes]:
    """The orders about a dataset that no other follows: what the next one should follow."""
    rows = list(
        conn.execute("SELECT id, follows FROM command WHERE dataset = ? ORDER BY pos", (dataset,))
    )
    followed = {follows[at : at + 32] for _, follows in rows for at in range(0, len(follows), 32)}
    return [id for id, _ in rows if id not in followed]

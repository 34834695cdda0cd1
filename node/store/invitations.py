"""SQL: the invitations of this site, by the ids of their documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import apsw

from node.fold.shape import select

KEPT_MAX: Final = 1000  # those that hold longest


@dataclass(frozen=True, slots=True)
class InvitationRow:
    id: bytes
    key: bytes  # of the admin who signed it
    until_ms: int
    withdrawn: bool


def note(conn: apsw.Connection, id_: bytes, key: bytes, until_ms: int) -> None:
    """Keep one, unless it is known."""
    conn.execute("INSERT OR IGNORE INTO invitation VALUES (?, ?, ?, 0)", (id_, key, until_ms))
    conn.execute(
        "DELETE FROM invitation WHERE id NOT IN"
        " (SELECT id FROM invitation ORDER BY until_ms DESC LIMIT ?)",
        (KEPT_MAX,),
    )


def withdraw(conn: apsw.Connection, id_: bytes) -> None:
    conn.execute("UPDATE invitation SET withdrawn = 1 WHERE id = ?", (id_,))


def invitations(conn: apsw.Connection) -> list[InvitationRow]:
    """All that are kept, the one that holds longest first."""
    sql = "SELECT id, key, until_ms, withdrawn FROM invitation ORDER BY until_ms DESC, id"
    return [
        InvitationRow(id_, key, until_ms, bool(withdrawn))
        for id_, key, until_ms, withdrawn in select(conn, sql)
    ]


def is_withdrawn(conn: apsw.Connection, id_: bytes) -> bool:
    sql = "SELECT 1 FROM invitation WHERE id = ? AND withdrawn"
    return bool(select(conn, sql, (id_,)))

"""Whether the tables of a database were folded by this version of the code.

Tables of another fold, or another schema, are not brought forward: they are derived, and `floe
store rebuild` makes them anew from the entries.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import blake2b

import apsw

from federation.records import kinds
from node.fold.roots import VERSION
from node.store.schema import DERIVED_MARK, schema_files

_COMMENT = re.compile(r"--[^\n]*")


def version() -> bytes:
    """Of this code: what it means by the log, which kinds of records it knows, and the tables that
    it keeps of them."""
    return blake2b(f"{VERSION} {kinds()} {_tables()}".encode(), digest_size=16).digest()


@cache
def _tables() -> str:
    scripts = [sql for _, name, sql in schema_files() if DERIVED_MARK in name]
    return " ".join(_COMMENT.sub("", "\n".join(scripts)).split())


def note(conn: apsw.Connection) -> None:
    """The tables are this code's: they are new, or were just made anew."""
    conn.execute("INSERT OR REPLACE INTO folded VALUES (1, ?)", (version(),))


def is_current(conn: apsw.Connection) -> bool:
    """Whether this code may go on with the tables."""
    return bool(conn.execute("SELECT version = ? FROM folded", (version(),)).get)

"""Who owns units, by the latest grant; and what a site was ever granted, whose results count."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from node.fold.sets import Jobs
from node.fold.shape import select
from node.ranges import ranges_of


def give(conn: apsw.Connection, task: int, lo: int, hi: int, site: int) -> None:
    """The units [lo, hi) of the task belong to the site from now on."""
    _forget_released(conn, task, lo, hi)
    left, right = _carve(conn, task, lo, hi)
    if left is not None and left[2] == site:
        lo = left[0]
        conn.execute("DELETE FROM owner WHERE task = ? AND lo = ?", (task, lo))
    if right is not None and right[2] == site:
        conn.execute("DELETE FROM owner WHERE task = ? AND lo = ?", (task, right[0]))
        hi = right[1]
    conn.execute("INSERT INTO owner VALUES (?, ?, ?, ?)", (task, lo, hi, site))


def take(conn: apsw.Connection, task: int, lo: int, hi: int, site: int) -> None:
    """Of the units [lo, hi), those of the site belong to nobody from now on."""
    sql = "SELECT lo, hi FROM owner WHERE task = ? AND lo < ? AND hi > ? AND site = ?"
    for start, end in select(conn, sql, (task, hi, lo, site)):
        _carve(conn, task, max(lo, start), min(hi, end))


def give_back(conn: apsw.Connection, task: int, lo: int, hi: int, site: int) -> list[int]:
    """The site will not run those of the units [lo, hi) that it owns; these, flat."""
    sql = "SELECT lo, hi FROM owner WHERE task = ? AND lo < ? AND hi > ? AND site = ? ORDER BY lo"
    flat: list[int] = []
    for start, end in select(conn, sql, (task, hi, lo, site)):
        piece = (max(lo, start), min(hi, end))
        _forget_released(conn, task, *piece)
        conn.execute("INSERT INTO released VALUES (?, ?, ?, ?)", (task, *piece, site))
        flat += piece
    return flat


def _forget_released(conn: apsw.Connection, task: int, lo: int, hi: int) -> None:
    """The units [lo, hi) have an owner, who has not given them back."""
    sql = "DELETE FROM released WHERE task = ? AND lo < ? AND hi > ? RETURNING lo, hi, site"
    for start, end, site in select(conn, sql, (task, hi, lo)):
        for piece in ((start, lo), (hi, end)):
            if piece[0] < piece[1]:
                conn.execute("INSERT INTO released VALUES (?, ?, ?, ?)", (task, *piece, site))


Piece = tuple[int, int, int]  # lo, hi, site


def _carve(conn: apsw.Connection, task: int, lo: int, hi: int) -> tuple[Piece | None, Piece | None]:
    """Make [lo, hi) nobody's; the pieces that touch it left and right."""
    sql = "SELECT lo, hi, site FROM owner WHERE task = ? AND lo <= ? AND hi >= ? ORDER BY lo"
    left: Piece | None = None
    right: Piece | None = None
    for start, end, site in select(conn, sql, (task, hi, lo)):
        conn.execute("DELETE FROM owner WHERE task = ? AND lo = ?", (task, start))
        if start < lo:
            left = (start, min(end, lo), site)
            conn.execute("INSERT INTO owner VALUES (?, ?, ?, ?)", (task, *left))
        if end > hi:
            right = (max(start, hi), end, site)
            conn.execute("INSERT INTO owner VALUES (?, ?, ?, ?)", (task, *right))
    return left, right


def remember(conn: apsw.Connection, task: int, lo: int, hi: int, site: int) -> None:
    """From now on results of the site count for the units [lo, hi)."""
    sql = "DELETE FROM granted WHERE task = ? AND site = ? AND lo <= ? AND hi >= ? RETURNING lo, hi"
    for start, end in select(conn, sql, (task, site, hi, lo)):
        lo, hi = min(lo, start), max(hi, end)
    conn.execute("INSERT INTO granted VALUES (?, ?, ?, ?)", (task, site, lo, hi))


def ever_granted(
    conn: apsw.Connection, task: int, site: int, lo: int, hi: int, jobs: Sequence[int]
) -> bool:
    """Whether the site was granted all the jobs, which lie in [lo, hi), at some time."""
    sql = "SELECT lo, hi FROM granted WHERE task = ? AND site = ? AND lo < ? AND hi > ? ORDER BY lo"
    found = [bound for row in select(conn, sql, (task, site, hi, lo)) for bound in row]
    if len(found) == 2 and found[0] <= lo and hi <= found[1]:
        return True
    return not Jobs(ranges_of(set(jobs))) - Jobs(found)

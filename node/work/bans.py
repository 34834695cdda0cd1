"""Bans of workers, as they stand in the store: a restart of the node forgives nobody."""

from __future__ import annotations

from functools import partial

import apsw

from node.store import bans as store
from node.store.bans import BanRow
from node.work.board import Board, watch
from node.work.hosts import BAN_S_MAX, Hosts


def restore(conn: apsw.Connection, hosts: Hosts, now_s: float, wall_ms: int) -> None:
    """Bans of before the restart go on, by the wall clock but no longer than a ban may be."""
    for row in store.bans(conn):
        left_s = min((row.until_ms - wall_ms) / 1000, BAN_S_MAX)
        hosts.put(row.host, now_s + left_s, row.until_ms, row.bans, row.why, row.names)


def keep(board: Board) -> None:
    """Write down what is new of bans."""
    news = board.leases.hosts.news()
    if not news:
        return
    now_s, wall_ms = board.now_s(), board.wall_ms()
    rows, gone = [], []
    for host in news:
        if not host.bans:
            gone.append(host.name)
            continue
        if not host.until_ms:
            host.until_ms = wall_ms + round((host.until_s - now_s) * 1000)
        rows.append(BanRow(host.name, host.until_ms, host.bans, host.why, tuple(host.names)))
    statement = partial(store.write, rows=rows, gone=gone)
    watch(board.journal.local(statement), "keeping bans of workers")

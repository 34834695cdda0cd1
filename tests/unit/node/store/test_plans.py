"""What is asked in the reactor's thread of all datasets looks at no table as often as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import apsw
import pytest

from node.fold import linking, orders
from node.fold.shape import Member
from node.store import ledgers, openwork, tasks
from node.store.database import migrate

SITE, SHARD = b"s" * 32, b"h" * 32
MEMBER = Member(1, b"d" * 32, 1, 1, b"p" * 32, "g", 1, 1, False, False, False, 0, False)


@pytest.fixture
def conn() -> Iterator[apsw.Connection]:
    conn = apsw.Connection(":memory:")
    migrate(conn)
    yield conn
    conn.close()


def plans(conn: apsw.Connection, ask: Callable[[apsw.Connection], object]) -> list[str]:
    """The steps of all statements that `ask` executes."""
    told: list[tuple[str, object]] = []

    def note(_: object, sql: str, bindings: object) -> bool:
        told.append((sql, bindings))
        return True

    conn.exec_trace = note
    ask(conn)
    conn.exec_trace = None
    return [
        row[3]
        for sql, bindings in told
        if not sql.startswith("EXPLAIN")
        for row in conn.execute("EXPLAIN QUERY PLAN " + sql, bindings)  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda conn: openwork.open_datasets(conn, SITE, 1),
        lambda conn: openwork.still_datasets(conn, SITE, 1),
        lambda conn: openwork.tasks(conn, 1),
        lambda conn: ledgers.owned_datasets(conn, SITE),
        lambda conn: ledgers.owns_any(conn, 1, SITE),
        lambda conn: ledgers.unit_times(conn, 1),
        lambda conn: orders.obey(conn, MEMBER, Cancel()),
        lambda conn: linking.link_children(conn, 1, 1),
        lambda conn: linking.link_parent(conn, 1, b"d" * 32),
        lambda conn: linking.waiting_jobs(conn, 1, b"d" * 32, 1),
    ],
)
def test_questions_about_a_dataset_do_not_look_at_the_tasks_of_all(
    conn: apsw.Connection, ask: Callable[[apsw.Connection], object]
) -> None:
    steps = plans(conn, ask)
    assert steps
    scans = [step for step in steps if step.startswith("SCAN")]
    assert not [step for step in scans if step.split()[1] in ("task", "t", "x", "owner", "granted")]


def test_usage_of_long_ago_is_not_read(conn: apsw.Connection) -> None:
    steps = plans(conn, lambda conn: tasks.usage(conn, 20_000))
    assert not [step for step in steps if step.startswith("SCAN usage")]


class Cancel:
    """An order for all units."""

    dataset = MEMBER.id
    verb = "cancel"
    args: ClassVar[dict[str, object]] = {}
    follows: tuple[bytes, ...] = ()

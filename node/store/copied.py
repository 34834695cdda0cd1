"""How far other sites' results feeds were looked through for outputs to keep a second copy of."""

from __future__ import annotations

import apsw

from federation.ids import FeedID, Lane, SiteID


def behind(conn: apsw.Connection, site: SiteID) -> list[tuple[FeedID, int]]:
    """(feed, seq looked through) of every other site's results feed that has gone on since."""
    rows = conn.execute(
        "SELECT f.site, f.generation, coalesce(c.through, 0) FROM feed f LEFT JOIN copied c"
        " ON c.site = f.site AND c.generation = f.generation"
        " WHERE f.lane = ? AND f.site <> ? AND f.seq > coalesce(c.through, 0)"
        " ORDER BY f.site, f.generation",
        (int(Lane.RESULTS), site),
    )
    return [
        (FeedID(SiteID(key), generation, Lane.RESULTS), through)
        for key, generation, through in rows
    ]


def set_through(conn: apsw.Connection, feed: FeedID, through: int) -> None:
    conn.execute(
        "INSERT INTO copied VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE"
        " SET through = max(through, excluded.through)",
        (feed.site, feed.generation, through),
    )

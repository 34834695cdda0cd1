"""Links that are there for requests alone are closed when there are none. Pure."""

from __future__ import annotations

from collections.abc import Callable

from federation import limits
from federation.events import Reason
from federation.hub import Hub
from federation.session import Session

Activity = Callable[[Session], tuple[int, int]]
"""What was begun on a link so far, and how much of that has not ended."""


def close_when_idle(hub: Hub, activity: Activity, session: Session, now_s: float) -> None:
    """End a link after a while without requests; who dialled it does so first."""
    wait_s = limits.IDLE_S if session.dialled else 2 * limits.IDLE_S
    before, _ = activity(session)

    def check(now_s: float) -> None:
        if session.finished:
            return
        begun, under_way = activity(session)
        if under_way or begun != before:
            close_when_idle(hub, activity, session, now_s)
        else:
            session.close(Reason.CLOSING, now_s, "nothing is asked")

    hub.agenda.at(now_s + wait_s, check)

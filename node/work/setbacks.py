"""Workers on which nothing works: they get a rest, and each next one is longer.

A broken worker fails units faster than any good one runs them. Left alone it would lose each unit
of a dataset so often that they all count as poison.
"""

from __future__ import annotations

from twisted.logger import Logger

from federation.records import Outcome, Results
from node.work.reports import all_succeeded, failures
from node.work.sessions import Session

_log = Logger()

WORKERS_FAULT = frozenset({"worker", "runner-lost", "output-store"})
IN_A_ROW_MIN = 3  # or as many as the worker runs at once
REST_S_MIN = 10.0
REST_S_MAX = 900.0


def judge_worker(session: Session, record: Results, now_s: float) -> float:
    """Note how a pilot fares; seconds of the rest that begins now, or 0."""
    if all_succeeded(record):
        session.lost_in_a_row = session.rests = 0
        return 0.0
    failed = failures(record)
    lost = [error for _, outcome, error in failed if outcome == Outcome.INFRASTRUCTURE]
    if len(lost) < len(record.jobs):
        session.lost_in_a_row = session.rests = 0
        return 0.0
    session.lost_in_a_row += sum(error in WORKERS_FAULT for error in lost)
    if session.lost_in_a_row < max(IN_A_ROW_MIN, session.whole.cpu):
        return 0.0
    rest_s = min(REST_S_MAX, REST_S_MIN * 2.0 ** min(session.rests, 20))
    session.rests += 1
    session.rests_until_s = now_s + rest_s
    _log.warn(
        "pilot {tag} on {host} lost {n} units in a row ({error}): it gets none for {rest_s:.0f} s",
        tag=session.tag,
        host=session.host,
        n=session.lost_in_a_row,
        error=lost[-1],
        rest_s=rest_s,
    )
    session.lost_in_a_row = 0
    return rest_s

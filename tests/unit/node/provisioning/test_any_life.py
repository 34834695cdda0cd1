"""Whatever happens to node, batch system and pilots: limits hold, nothing is lost, all is run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from schedulers.base import JobState
from tests.unit.node.provisioning.camp import SETTINGS, Camp
from tests.unit.node.work.house import Described

UNITS = 120
EXAMPLES = int(os.environ.get("FLOE_EXAMPLES", "20"))

Step = Callable[[Camp], None]


def passes(seconds: int) -> Step:
    return lambda camp: check_while_it_runs(camp, seconds)


def lies(how: str, seconds: int) -> Step:
    def step(camp: Camp) -> None:
        camp.batch.faults.listing = how
        check_while_it_runs(camp, seconds)
        camp.batch.faults.listing = ""

    return step


def fails(name: str, seconds: int) -> Step:
    def step(camp: Camp) -> None:
        setattr(camp.batch.faults, name, "no such account" if name == "refuses" else True)
        check_while_it_runs(camp, seconds)
        setattr(camp.batch.faults, name, "" if name == "refuses" else False)

    return step


def breaks_off(name: str) -> Step:
    """The next submissions are not confirmed, whether they are made or not."""
    return lambda camp: setattr(camp.batch.faults, name, 2)


def killed(verb: str, moment: str, seconds: int) -> Step:
    """Killed at the next such command, if one comes; started again after a while."""

    def step(camp: Camp) -> None:
        def kill(ran: str, when: str) -> None:
            if (ran, when) == (verb, moment) and camp.up:
                camp.kill()

        camp.runners["maui"].on_verb = kill
        check_while_it_runs(camp, seconds)
        camp.restart()

    return step


def left_out(seconds: int) -> Step:
    """Not in config.toml at a restart, and put back at a later one."""

    def step(camp: Camp) -> None:
        for named in ((), (SETTINGS,)):
            camp.settings = named
            camp.restart()
            check_while_it_runs(camp, seconds)

    return step


def cancelled(state: JobState, count: int) -> Step:
    def step(camp: Camp) -> None:
        for job in camp.batch.living()[:count]:
            camp.batch.end(job, state, words="by root")

    return step


def slots(count: int) -> Step:
    return lambda camp: setattr(camp.batch, "slots", count)


def bad_pilots(how: str, seconds: int) -> Step:
    def step(camp: Camp) -> None:
        camp.behave = camp.dies if how == "die" else camp.silent
        check_while_it_runs(camp, seconds)
        camp.behave = camp.good

    return step


def check_while_it_runs(camp: Camp, seconds: int) -> None:
    for _ in range(seconds):
        camp.run(1)
        living = camp.batch.living()
        queued = [job for job in living if job.state is JobState.QUEUED]
        assert len(living) <= SETTINGS.running_max
        assert len(queued) <= SETTINGS.queued_max


SECONDS = st.integers(5, 500)
STEPS = st.one_of(
    st.builds(passes, SECONDS),
    st.builds(lies, st.sampled_from(["empty", "cut", "half", "foreign"]), SECONDS),
    st.builds(
        fails,
        st.sampled_from(["hangs", "fails", "refuses", "no_accounting", "unwritable"]),
        SECONDS,
    ),
    st.builds(breaks_off, st.sampled_from(["loses", "drops"])),
    st.builds(
        killed,
        st.sampled_from(["submit", "listing", "lookup", "cancel", "version"]),
        st.sampled_from(["before", "after"]),
        SECONDS,
    ),
    st.builds(
        cancelled, st.sampled_from([JobState.CANCELLED, JobState.NODE_FAILED]), st.integers(1, 6)
    ),
    st.builds(left_out, SECONDS),
    st.builds(slots, st.integers(0, 8)),
    st.builds(bad_pilots, st.sampled_from(["die", "silent"]), SECONDS),
)


def spacing(times_s: list[float]) -> float:
    return min((b - a for a, b in itertools.pairwise(times_s)), default=1e9)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(STEPS, min_size=1, max_size=8), st.booleans())
def test_limits_hold_at_all_times_and_in_the_end_all_is_run_and_no_job_is_left(
    steps: list[Step], tells_job: bool
) -> None:
    camp = Camp(Described(1, UNITS))
    camp.tells_job = tells_job
    for step in steps:
        step(camp)
    camp.batch.slots = 4
    # Pilots that never speak are found, what hung is retried, breakers try again.
    ended = camp.run(20_000, lambda: len(camp.house.disk.settled(64)) == UNITS)
    note(f"{camp.system.shown()} {camp.node.why}")
    assert ended
    camp.run(6000, lambda: not camp.batch.living())
    assert not camp.batch.living()
    camp.run(4000, lambda: not list(camp.system.book))
    assert not list(camp.system.book), next(iter(camp.system.book))
    assert camp.house.work.arrivals.expected == {}
    tags = [job.tag for job in camp.batch.jobs.values()]
    assert len({job.name.split(".")[0] for job in camp.batch.jobs.values()}) == len(set(tags))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=1, max_size=6))
def test_a_batch_system_is_asked_gently_whatever_happens(steps: list[Step]) -> None:
    camp = Camp(Described(1, UNITS))
    restarts = 0
    first = camp.node
    for step in steps:
        step(camp)
        restarts += camp.node is not first
        if restarts:
            break  # a new process begins with a look
    assert restarts or spacing(camp.verbs("listing")) >= SETTINGS.look_s
    assert restarts or spacing(camp.verbs("submit")) >= SETTINGS.submit_s

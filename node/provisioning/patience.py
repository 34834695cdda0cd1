"""How long to wait for news of a job that has left the listing. Pure."""

from __future__ import annotations

from typing import Final

from node.provisioning.jobs import Job

SPOKE_S: Final = 90.0  # a pilot that spoke so lately has not ended, whatever is said
SILENT_S: Final = 900.0  # one that left the listing and has been silent for so long is given up
DENIED_S: Final = 900.0  # one that the batch system does not know either
UNKNOWN_S_MAX: Final = 3600.0  # a job of which nobody has said anything is charged so long
AGAIN_S: Final = 600.0  # what looking up did not tell at first is looked up again so often
EAGER_S: Final = 600.0  # at first with every listing
DENIED_EAGER_S: Final = 60.0  # accounting is some seconds late
DENIED_AGAIN_S: Final = 120.0


def pause_s(job: Job, missing_s: float) -> float:
    """How long to wait before a job that has been missing for so long is looked up again."""
    if missing_s < (DENIED_EAGER_S if job.denied else EAGER_S):
        return 0.0
    return DENIED_AGAIN_S if job.denied else AGAIN_S


def patience_s(job: Job) -> float:
    """How long a job that nobody tells of is charged."""
    if job.pilot is not None:
        return SILENT_S
    return DENIED_S if job.denied else UNKNOWN_S_MAX


def promising(job: Job, now_s: float) -> bool:
    """Whether units wait for the pilot of a job that has not announced itself.

    Not if the batch system denies the job, and its accounting would have told of an end by now: it
    is charged all the same, as it may live.
    """
    return not job.denied or job.missing_s is None or now_s - job.missing_s < DENIED_EAGER_S


def given_up_words(job: Job) -> str:
    """Why it is charged no more."""
    if job.denied:
        return "given up: the batch system does not know it, and no pilot speaks from it"
    return "given up: nobody says how it ended"

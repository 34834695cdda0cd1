"""Start a pilot: `python3 pilot.pyz SETTINGS.json`."""

import logging
import os
import sys
import tempfile
from typing import Any, List

# The nursery comes first of all: it must hold neither threads nor secrets.
from pilot import nursery as nursery_module


def main() -> int:
    """The pilot's exit status.

    0: it did what it should, which includes being evicted, and leaving a job to which it does not
    belong any more. 1: given up; something is wrong with this worker, the node or the token. 2: bad
    settings, or walls that were demanded and cannot be had. Never 99 or 100, by which Grid Engine
    starts a job again or keeps it in error (sge_conf(5), FORBID_RESCHEDULE, FORBID_APPERROR).
    """
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: pilot SETTINGS.json (see docs/pilot.md)\n")
        return 2
    nursery = nursery_module.start()
    from pilot import config, eviction, isolate

    evictions = eviction.Evictions()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    isolate.adopt_orphans()
    isolate.undumpable()
    try:
        return _run(sys.argv[1], nursery, evictions)
    except (config.BadSettings, isolate.Denied, OSError) as fault:
        logging.getLogger("pilot").error("%s", fault)
        return 2
    finally:
        nursery.close()


def _run(path: str, nursery: nursery_module.Nursery, evictions: Any) -> int:
    """Find a place to work, settle, and work. Raises BadSettings, Denied, OSError before that."""
    from pilot import batchsystem, config, resources, supervisor

    log = logging.getLogger("pilot")
    settings = config.read(path)
    batch = resources.batch_of(settings, os.environ, resources.read_file)
    where = "%s job %s" % (batch.system, batch.job or "?") if batch.system else "no batch system"
    log.info("pilot %s: %s", supervisor.dump(settings), where)
    if batch.starts_before:
        log.info("%s started this job again; its site has given its work to others", batch.system)
        return 0
    place = _place(settings, batch)
    try:
        hide = [*settings.hide, os.path.abspath(path), *_own_files(batch.system)]
        grace_s = batchsystem.grace_s(batch, settings.grace_s)
        nursery.settle(place.folder, hide, settings.isolation, grace_s / 3)
        if nursery.isolation != "full":
            log.info("units are not walled off from each other: %s", nursery.why)
        found = resources.here_now(settings, os.environ, place.folder)
        log.info("isolation %s; %s", nursery.isolation, found.why)
        return supervisor.Pilot(settings, nursery, place, found, evictions).run()
    finally:
        nursery.close()
        place.leave()


def _place(settings: Any, batch: Any) -> Any:
    """Where to work: in a folder that the node made for this pilot, or below one for many."""
    from pilot import batchsystem, place

    if settings.work_dir:
        if not batch.system:
            return place.given(settings.work_dir)
        os.makedirs(settings.work_dir, mode=0o700, exist_ok=True)
        bases = [settings.work_dir]
    else:
        bases = [*batchsystem.scratch_folders(os.environ, batch.system), tempfile.gettempdir()]
    place.sweep(bases[0])
    return place.below(bases, "-".join(each for each in (settings.tag, batch.job) if each))


def _own_files(system: str) -> List[str]:
    """What the batch system put beside the pilot: HTCondor's holds a key to the job's ad."""
    folder = os.environ.get("_CONDOR_SCRATCH_DIR", "")
    return [folder] if system == "htcondor" and folder.startswith("/") else []


if __name__ == "__main__":
    sys.exit(main())

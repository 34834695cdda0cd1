"""Start a pilot: `python3 pilot.pyz SETTINGS.json`."""

import logging
import os
import sys

# The nursery comes first of all: it must hold neither threads nor secrets.
from pilot import nursery as nursery_module


def main() -> int:
    """The pilot's exit status: 0 done, 1 given up, 2 bad settings."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: pilot SETTINGS.json (see docs/pilot.md)\n")
        return 2
    nursery = nursery_module.start()
    from pilot import config, isolate, supervisor

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    log = logging.getLogger("pilot")
    isolate.adopt_orphans()
    isolate.undumpable()
    try:
        settings = config.read(sys.argv[1])
        os.makedirs(settings.work_dir, mode=0o700, exist_ok=True)
        hide = [*settings.hide, os.path.abspath(sys.argv[1])]
        nursery.settle(settings.work_dir, hide, settings.isolation, settings.grace_s / 3)
    except (config.BadSettings, isolate.Denied, OSError) as fault:
        log.error("%s", fault)
        nursery.close()
        return 2
    if nursery.isolation != "full":
        log.info("units are not walled off from each other: %s", nursery.why)
    log.info("pilot %s: isolation %s", supervisor.dump(settings), nursery.isolation)
    return supervisor.Pilot(settings, nursery).run()


if __name__ == "__main__":
    sys.exit(main())

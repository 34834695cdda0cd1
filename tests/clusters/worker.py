"""What the contract submits in place of a pilot: does as its settings say. Python 3.6.

Settings: sleep_s, exit, signal (to itself). It prints its words and the signals that it got.
"""

import json
import os
import signal
import sys
import time


def told(number, frame):
    """Print a signal's name, and end as the batch systems expect."""
    print(signal.Signals(number).name, flush=True)
    sys.exit(128 + number)


def main():
    """Read the settings and obey."""
    with open(sys.argv[1]) as file:
        settings = json.load(file)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
        signal.signal(number, told)
    print(ascii(sys.argv[2:]), flush=True)
    time.sleep(settings.get("sleep_s", 0))
    if "signal" in settings:
        os.kill(os.getpid(), settings["signal"])
        time.sleep(10)
    return settings.get("exit", 0)


sys.exit(main())

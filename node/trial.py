"""Ask the batch systems of a home whether its settings are good: a process of its own.

It is started by `floe config check` and `floe up`, so that the command line needs no reactor, and
says on its standard output, in one JSON line, what each of them told. Nothing is submitted.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from node.config import Config, ConfigError, load
from node.daemon import running, surroundings
from node.home import Home, make_private_folder
from node.provisioning.findings import ALL_S_MAX, Finding, Verdict

START_S: Final = 30.0  # for the process, beyond what the batch systems may take


class TrialError(Exception):
    """They could not be asked; the message says why."""


def findings(home: Home) -> list[Finding]:
    """What the batch systems say of config.toml, which is good as far as it can be read.

    Raises TrialError.
    """
    argv = [sys.executable, "-m", "node.trial", "--home", str(home.path)]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", env=surroundings(),
            timeout=ALL_S_MAX + START_S, check=False,
        )  # fmt: skip
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise TrialError(f"batch systems did not answer within {error.timeout:.0f} s") from None
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise TrialError(f"batch systems could not be asked: {(said or ['?'])[-1]}") from None
    return [_finding(each) for each in told["findings"]]


def _finding(told: Mapping[str, Any]) -> Finding:
    return Finding(**{**told, "verdict": Verdict(told["verdict"])})


async def ask(reactor: Any, config: Config, home: Home) -> list[Finding]:
    """Ask all batch systems at once."""
    from twisted.internet.defer import Deferred, gatherResults

    from node.provisioning.checking import check
    from node.provisioning.tools import tools_of

    folder = home.run / f"check-{secrets.token_hex(4)}"
    make_private_folder(folder)
    # A tunnel is tried if its port is known, and not in use by our own node.
    port = 0 if running(home) else int(config.api.listen.rpartition(":")[2])
    waiting, runners = [], []
    try:
        for settings in config.systems:
            tried = settings if port else replace(settings, tunnel=None)
            tools = tools_of(reactor, tried, folder, port)
            runners.append(tools.runner)
            made = check(reactor, tools, settings, str(home.pilots), secrets.token_hex(6))
            waiting.append(Deferred.fromCoroutine(made))
        return [each for found in await gatherResults(waiting) for each in found]
    finally:
        for runner in runners:
            await runner.close()
        shutil.rmtree(folder, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """The process. 1 if config.toml cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m node.trial", description=__doc__)
    parser.add_argument("--home", required=True, type=Path)
    home = Home(parser.parse_args(argv).home)
    try:
        config = load(home.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    status = 1

    async def begin() -> None:
        nonlocal status
        try:
            found = await ask(reactor, config, home)
            print(json.dumps({"findings": [each.shown() for each in found]}), flush=True)
            status = 0
        finally:
            reactor.stop()

    def failed(failure: Failure) -> None:
        print(failure.getTraceback(), file=sys.stderr)

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(begin()).addErrback(failed))
    reactor.run()
    return status


if __name__ == "__main__":
    sys.exit(main())

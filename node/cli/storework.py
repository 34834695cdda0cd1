"""Work on a home's own files: verify, backup, restore, rebuild. Blocks; shows how far it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.cli.command import Floe
from node.cli.failures import Failed
from node.home import Home

if TYPE_CHECKING:
    from node.store.verify import CheckedFold, Report

Tell = Callable[[str, int, int], None]  # (what, done, total)


def verify(home: Home, quiet: bool) -> dict[str, Any]:
    """Check the store, whether its node runs or not. Raises Failed where there is none."""
    from node.store.verify import finish
    from node.store.verify import verify as check

    if not home.database.exists():
        raise Failed(f"there is no store in {home.path}", "floe up makes it when it first starts")
    with _told(quiet) as tell, _failures():
        report = finish(
            check(home.database, _fold(home)), lambda step: tell(step.phase, step.done, step.total)
        )
    return shown(report)


def rebuild(home: Home, quiet: bool) -> dict[str, Any]:
    """Fold the feeds again, in place. Raises Failed when a node runs."""
    from node.config import load
    from node.store.database import Database
    from node.store.verify import finish
    from node.store.verify import rebuild as fold_again

    if not home.database.exists():
        raise Failed(f"there is no store in {home.path}")
    with _told(quiet) as tell, _failures():
        network_home = load(home.config).store.network_home
        database = Database.open(home.path, network_home=network_home)
        try:
            report = finish(
                fold_again(database.writer, _fold(home)),
                lambda step: tell(step.phase, step.done, step.total),
            )
        finally:
            database.close()
    return shown(report)


def shown(report: Report) -> dict[str, Any]:
    """A report as --json gives it."""
    return {"ok": report.ok, **asdict(report)}


def backup(home: Home, to: Path, keys: bool, quiet: bool) -> dict[str, Any]:
    """Copy a home whose node is down. Raises Failed."""
    from federation.ids import SiteID
    from keys.identity import SiteKey
    from node.store.backup import back_up
    from node.store.blobs import Blobs
    from node.store.database import HomeLock

    if not home.database.exists():
        raise Failed(f"there is no store in {home.path}")
    with _told(quiet) as tell, _failures():
        site = SiteID(SiteKey.load(home.site_key).site)
        lock = HomeLock(home.path)  # no node may start meanwhile: it would sweep our blobs
        blobs = Blobs(home.blobs)
        try:
            done = back_up(home.path, to, site, blobs, with_keys=keys, tell=tell)
        finally:
            blobs.close()
            lock.release()
    return {
        "to": str(done.folder),
        "files": done.files,
        "bytes": done.size_bytes,
        "damaged": list(done.damaged),
    }


def restore(home: Home, folder: Path, network_home: bool, quiet: bool) -> dict[str, Any]:
    """Put a backup into an empty home. Raises Failed, and leaves the home empty then."""
    from node.store.backup import led, read_manifest
    from node.store.backup import restore as put_back

    with _told(quiet) as tell, _failures():
        generation = put_back(folder, home.path, tell=tell, network_home=network_home)
        found = led(home.path, read_manifest(folder))
    return {
        "home": str(home.path),
        "generation": generation,
        "keys": home.site_key.exists(),
        "alone": found.alone,
        "shared": found.shared,
    }


def user_key(floe: Floe) -> str:
    """The file of the person's key; "" if it is not where client.toml says.

    A key that `floe init` made lies in the home, and came back with it to another place perhaps:
    then client.toml is told.
    """
    from node.client import ClientError
    from node.home import write_private

    named, made = floe.signer(), floe.home.user_key
    try:
        named.public_line()
    except ClientError:
        if named.path.name != made.name or not made.exists():
            return ""
        settings = {**floe.settings(), "key": str(made)}
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        write_private(floe.home.client, "".join(lines).encode())
        return str(made)
    return str(named.path)


def _fold(home: Home) -> CheckedFold:
    """A fresh fold of this site, with what a check asks of it."""
    import apsw

    from federation.ids import SiteID
    from keys.identity import SiteKey
    from node import fold
    from node.model.commands import read_command
    from node.model.validate import read_submission

    class Checked(fold.Fold):
        def digest(self, conn: apsw.Connection) -> bytes:
            return fold.digest(conn)

        def state_root(self, conn: apsw.Connection) -> str:
            return fold.state_root(conn)

    return Checked(SiteID(SiteKey.load(home.site_key).site), read_submission, read_command)


@contextmanager
def _failures() -> Iterator[None]:
    """What the store says becomes what the person reads."""
    import apsw

    from keys.identity import KeyFileError
    from node.config import ConfigError
    from node.store.database import StoreError

    try:
        yield
    except (StoreError, KeyFileError, ConfigError) as error:
        raise Failed(str(error)) from None
    except (OSError, apsw.Error) as error:
        raise Failed(f"the store cannot be used: {error}", "floe doctor") from None


@contextmanager
def _told(quiet: bool) -> Iterator[Tell]:
    """A progress bar on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from node.cli.output import console

    columns = (TextColumn("{task.description}"), BarColumn(22), MofNCompleteColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=None)

        def tell(what: str, done: int, total: int) -> None:
            progress.update(bar, description=what, completed=done, total=total)

        yield tell

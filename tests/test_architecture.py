"""The borders between packages, read from the imports themselves."""

import ast
import functools
import gc
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"keys", "federation", "node", "schedulers", "pilot", "tests", "bench", "examples"}
MAY_IMPORT = {
    "keys": set(),
    "federation": {"keys"},
    "schedulers": set(),
    "pilot": set(),
    "node": {"keys", "federation", "schedulers", "pilot"},
}
# What a package of ours must never see, whoever else uses it.
FORBIDDEN = {
    "keys": {"twisted", "apsw", "sqlite3", "treq"},
    "federation": {"apsw", "sqlite3", "treq", "http", "pydantic"},
    "schedulers": {"apsw", "sqlite3", "treq"},
}
# Cores: no Twisted, no files, no clock, no randomness.
PURE = [
    "federation/ids.py", "federation/limits.py", "federation/errors.py", "federation/codec.py",
    "federation/entry.py", "federation/feed.py", "federation/fields.py", "federation/kinds.py",
    "federation/records.py", "federation/shard.py", "federation/address.py",
    "federation/admins.py", "federation/membership.py", "federation/naming.py",
    "federation/pulse.py", "node/model/member.py",
    "federation/opening.py", "federation/quorum.py", "federation/segments.py",
    "federation/settle.py", "federation/canvass.py", "federation/delegate.py",
    "federation/election.py",
    "federation/evidence.py", "federation/holding.py", "federation/ledger.py",
    "federation/moving.py", "federation/seating.py",
    "federation/voting.py",
    "federation/calls.py", "federation/events.py", "federation/exchange.py",
    "federation/fetching.py", "federation/forks.py", "federation/gossip.py",
    "federation/holdings.py",
    "federation/hub.py", "federation/idle.py", "federation/neighbourhood.py",
    "federation/peering.py",
    "federation/tunnels.py", "federation/serving.py",
    "federation/session.py", "federation/sync.py", "federation/timing.py", "federation/wire.py",
    "node/dispatch.py", "node/ranges.py", "node/ready.py",
    "federation/shapes.py", "federation/claims.py", "federation/beacon.py",
    "federation/portions.py", "node/claims/policy.py", "node/leading/book.py",
    "node/leading/ledger.py", "node/model/siterules.py",
    "schedulers/backoff.py", "schedulers/remote.py", "schedulers/runner.py",
    "schedulers/ssh_faults.py", "schedulers/ssh_options.py",
    "node/unitstate.py", "node/model/dag.py",
    "node/provisioning/avoiding.py",
    "node/provisioning/book.py", "node/provisioning/breaker.py",
    "node/provisioning/changes.py", "node/provisioning/findings.py", "node/provisioning/demand.py",
    "node/provisioning/jobs.py", "node/provisioning/plugins.py", "node/work/hosts.py",
    "node/provisioning/plan.py", "node/provisioning/settings.py", "node/provisioning/shapes.py",
    "node/model/share.py", "pilot/expand.py",
    "schedulers/base.py", "schedulers/htcondor.py", "schedulers/htcondor_ads.py",
    "schedulers/htcondor_submit.py",
    "schedulers/pbs.py", "schedulers/pbsrecords.py", "schedulers/pbswords.py",
    "schedulers/script.py", "schedulers/sge.py", "schedulers/sgewords.py",
    "schedulers/slurm.py", "schedulers/slurmrecords.py", "schedulers/slurmwords.py",
    "schedulers/texts.py", "schedulers/torque.py",
    "pilot/classads.py", "pilot/cgroups.py",
    "pilot/batchsystem.py", "pilot/granted.py", "pilot/gpus.py", "pilot/doubt.py",
]  # fmt: skip
IMPURE = {"twisted", "socket", "time", "random", "secrets", "os", "subprocess", "threading", "apsw"}


def parse(path: Path) -> ast.Module:
    """The tree of a file, with the garbage collector at rest.

    Python 3.11 counts the depth of all trees in one place (gh-106905): a finalizer that parses in
    the middle of a parse, as one does that prints a traceback, spoils the count.
    """
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Full names of the modules that a file imports."""
    found: set[str] = set()
    stack: list[ast.AST] = [parse(path)]
    while stack:
        here = stack.pop()
        if isinstance(here, ast.If) and "TYPE_CHECKING" in ast.dump(here.test):
            continue
        if isinstance(here, ast.Import):
            found.update(alias.name for alias in here.names)
        elif isinstance(here, ast.ImportFrom):
            assert here.level == 0, f"{path}: relative import"
            found.add(here.module or "")
        stack.extend(ast.iter_child_nodes(here))
    return frozenset(found)


def roots(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_only_what_lies_below_them(package: str) -> None:
    assert files(package)
    for path in files(package):
        crossed = (roots(imports(path)) & OURS) - MAY_IMPORT[package] - {package}
        assert not crossed, f"{path.relative_to(ROOT)} imports {crossed}"


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_packages_do_not_see_what_is_not_theirs(package: str) -> None:
    for path in files(package):
        seen = roots(imports(path)) & FORBIDDEN[package]
        assert not seen, f"{path.relative_to(ROOT)} imports {seen}"


def test_pilot_is_standard_library_only() -> None:
    for path in files("pilot"):
        foreign = roots(imports(path)) - set(sys.stdlib_module_names) - {"pilot"}
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize("name", PURE)
def test_cores_touch_no_outside_world(name: str) -> None:
    path = ROOT / name
    assert path.exists(), f"{name} is listed as a core but is gone"
    seen = roots(imports(path)) & IMPURE
    assert not seen, f"{name} imports {seen}"


def test_only_site_connects_http_and_store() -> None:
    for path in files("node/store"):
        above = {name for name in imports(path) if name.startswith(("node.http", "node.cli"))}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


def test_setup_lists_every_package_and_no_tests() -> None:
    listed = next(
        ast.literal_eval(word.value)
        for word in ast.walk(parse(ROOT / "setup.py"))
        if isinstance(word, ast.keyword) and word.arg == "packages"
    )
    present = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for package in MAY_IMPORT
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(listed) == present

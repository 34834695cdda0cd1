"""Settings and checks that all tests share."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import settings

from tests.clusters.rig import NO_CLUSTER
from tests.nodelogs import add_logs

TESTS = Path(__file__).parent

# Machines that run the tests are shared: how long one example takes says nothing.
settings.register_profile("icefloe", deadline=None)
settings.load_profile("icefloe")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    add_logs(item, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all tests that were skipped because no batch system can be started here."""
    skipped = terminalreporter.stats.get("skipped", [])
    said = [each.longrepr[2] for each in skipped if isinstance(each.longrepr, tuple)]
    reasons = [each.removeprefix("Skipped: ") for each in said if NO_CLUSTER in each]
    if reasons:
        which = "; ".join(dict.fromkeys(each.removeprefix(NO_CLUSTER) for each in reasons))
        terminalreporter.write_line(
            f"skipped {len(reasons)} tests, as there is {NO_CLUSTER}{which}"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes run a module each, in this order; what waits goes beside what works.

    Tests on batch systems wait most of the time, those with real nodes keep a core busy. The rest
    is short, and fills all cores in the end.
    """
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    waiting = [path for path in modules if _is_below(path, "clusters", "contract/schedulers")]
    working = [path for path in modules if _is_below(path, "e2e", "netns")]
    places = {
        path: (at + 0.5) / len(kind) for kind in (waiting, working) for at, path in enumerate(kind)
    }
    order = sorted(modules, key=lambda path: places.get(path, 1.0))
    items[:] = [item for path in order for item in modules[path]]


def _is_below(path: Path, *folders: str) -> bool:
    return any(path.is_relative_to(TESTS / folder) for folder in folders)


def open_stores() -> set[str]:
    """Files with an open connection, and fake disks; databases in memory hold nothing but that."""
    files = {f"{each.filename} on {each.open_vfs}" for each in apsw.connections() if each.filename}
    return files | {name for name in apsw.vfs_names() if name.startswith("fake-disk-")}


@pytest.fixture(autouse=True)
def _stores_are_closed() -> Iterator[None]:
    """A test closes the databases and the fake disks that it opened.

    The garbage collector would close them in the middle of some later test, when the folder is
    gone and in any order: the file before its connection, which then fails.
    """
    before = open_stores()
    yield
    left = sorted(open_stores() - before)
    assert not left, f"the test left open: {', '.join(left)}"


@pytest.fixture(scope="module", autouse=True)
def _rubbish_is_collected() -> Iterator[None]:
    """An error while rubbish is collected is told in the module that left it."""
    yield
    gc.collect()

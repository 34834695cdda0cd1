"""HTCondor's programs: the system's own, or those of a newer Debian, unpacked in a cache.

Debian 12 has no package of it. `python -m tests.clusters.condor.release` fetches that of SUITE
and its libraries by the machine's own apt, so that signatures are checked and nothing is installed
into the system, and gives the programs their own loader and libraries to run with here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clusters.place import SYSTEM_PATH, ClusterError, alone, kept

SUITE = os.environ.get("FLOE_TEST_HTCONDOR_SUITE", "trixie")  # sid has the newest
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = ("patchelf", "file")  # that fetching needs
_UNPACK = ("condor", "htcondor", "lib")  # packages that begin so
_SKIP = ("libjs", "libpython", "libperl", "libdate", "libboost-python")  # of the Python bindings
_PLACES = ("usr/bin/*", "usr/sbin/*", "usr/libexec/condor/*", "usr/lib/**/*.so*")


def cache() -> Path:
    """Where it is kept, for the next run."""
    return kept() / f"htcondor-{SUITE}"


def found() -> Path | None:
    """The folder with usr/bin and usr/sbin of an HTCondor; None if there is none."""
    master = shutil.which("condor_master", path=SYSTEM_PATH)
    if master is not None and Path(master).parent == Path("/usr/sbin"):
        return Path("/")
    return cache() if (cache() / "usr/sbin/condor_master").exists() else None


def fetch() -> Path:
    """Make one that is found. Raises ClusterError, with what apt says."""
    with alone(cache().with_suffix(".lock")):
        if (have := found()) is not None:
            return have
        _install_packages()
        with tempfile.TemporaryDirectory(dir=cache().parent) as work:
            tree = Path(work) / "tree"
            tree.mkdir()
            for package in _download(Path(work)):
                _unpack(package, tree)
            _merge_lib(tree)
            _relocate(tree, cache())
            tree.rename(cache())
        return cache()


def _run(*argv: str, env: dict[str, str] | None = None) -> str:
    words = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", **(env or {})}
    done = subprocess.run(argv, capture_output=True, env=words, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")[-2000:]
        raise ClusterError(f"{' '.join(argv[:2])}: exit status {done.returncode}: {said}")
    return done.stdout.decode("utf-8", "replace")


def _install_packages() -> None:
    lacking = [name for name in PACKAGES if shutil.which(name) is None]
    if not lacking:
        return
    if os.geteuid() != 0:
        raise ClusterError(f"missing packages, to be installed by root: {' '.join(lacking)}")
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *lacking)


def _archive() -> str:
    """The Debian archive that this machine's apt already uses."""
    wanted = ("Origin: Debian", "Component: main", "Created-By: Packages")
    urls = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted).split()
    main = sorted({url for url in urls if "security" not in url})
    if not main:
        raise ClusterError("this machine's apt has no Debian archive")
    return main[0]


def _download(work: Path) -> list[Path]:
    """Packages of SUITE with all that they need, by an apt with a state of its own."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={KEYS}] {_archive()} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::State::Status": work / "status",
        "Dir::State::extended_states": work / "extended",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": 1,
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    _run(*apt, "update")
    _run(*apt, "install", "-y", "--download-only", "--no-install-recommends", "condor")
    packages = sorted((work / "cache/archives").glob("*.deb"))
    return [each for each in packages if each.name.startswith(_UNPACK)
            and not each.name.startswith(_SKIP)]  # fmt: skip


def _unpack(package: Path, tree: Path) -> None:
    """All but documentation, configuration and state."""
    without = [f"--exclude=./{each}" for each in ("usr/share/*", "etc/*", "var/*")]
    with subprocess.Popen(("dpkg-deb", "--fsys-tarfile", package), stdout=subprocess.PIPE) as tar:
        done = subprocess.run(("tar", "-x", "-C", tree, *without), stdin=tar.stdout)
    if tar.returncode != 0 or done.returncode != 0:
        raise ClusterError(f"{package.name} cannot be unpacked")


def _merge_lib(tree: Path) -> None:
    """Older packages put libraries under /lib, which is /usr/lib now."""
    old = tree / "lib"
    if old.is_dir() and not old.is_symlink():
        shutil.copytree(old, tree / "usr/lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(old)


def _relocate(tree: Path, final: Path) -> None:
    """Let everything find its loader and its libraries in `final`."""
    loader = next((tree / "usr/lib").glob("*-linux-gnu/ld-linux-*.so.*")).relative_to(tree)
    lib = final / loader.parent
    path = f"{lib}:{final}/usr/lib:{final}/usr/lib/condor"
    for each in sorted({found for place in _PLACES for found in tree.glob(place)}):
        if each.is_symlink() or not each.is_file() or each.name.startswith(("ld-linux", "libc.so")):
            continue
        kind = _run("file", "-b", str(each))
        if not kind.startswith("ELF") or "statically linked" in kind or "static-pie" in kind:
            continue
        words = ["--force-rpath", "--set-rpath", path]
        if "interpreter" in kind:
            words += ["--set-interpreter", str(final / loader)]
        _run("patchelf", *words, str(each))


if __name__ == "__main__":
    try:
        print(f"HTCondor is in {fetch()}")
    except ClusterError as error:
        sys.exit(str(error))

"""The inputs that are kept: one file each, in a folder a target."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.fuzz import nasty
from tests.fuzz.target import Target

HERE = Path(__file__).parent / "corpus"
FOUND = "found-"  # inputs that once broke something: they stay


def files(target: Target, root: Path = HERE) -> list[Path]:
    """The target's inputs, in a fixed order."""
    folder = root / target.name
    return sorted(folder.iterdir()) if folder.is_dir() else []


def inputs(target: Target, root: Path = HERE) -> list[bytes]:
    """The files, and what is nasty in this form."""
    return [*kept(target, root), *nasty.OF_FORM[target.form.name].values()]


def kept(target: Target, root: Path = HERE) -> list[bytes]:
    """What the files hold."""
    return [path.read_bytes() for path in files(target, root)]


def write_seeds(target: Target, root: Path = HERE) -> None:
    """The target's valid inputs anew; what was found stays."""
    folder = root / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for path in files(target, root):
        if not path.name.startswith(FOUND):
            path.unlink()
    for name, data in target.seeds().items():
        (folder / name.replace(" ", "-")).write_bytes(data)


def keep(target: Target, data: bytes, root: Path = HERE) -> Path:
    """Write a failing input into the corpus."""
    name = FOUND + hashlib.blake2b(data, digest_size=6).hexdigest()
    path = root / target.name / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path

"""The user's files of a description: found, measured, hashed; nothing is changed on disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from node.model.description import FILE_BYTES_MAX
from node.model.paths import wrong_local
from node.model.problems import Path as KeyPath
from node.model.problems import Report
from node.model.units import show_size

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file here that becomes a blob: its path, its name below scratch, size in bytes, mode."""

    path: Path
    to: str
    size: int
    mode: int

    def digest(self) -> bytes:
        """BLAKE2b-256 of the content; reads the whole file. Raises OSError."""
        hasher = blake2b(digest_size=32)
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        return hasher.digest()


def find(description: Mapping[str, Any], base: Path, report: Report) -> list[LocalFile]:
    """All files that exist and may be taken; the others are reported."""
    found: list[LocalFile] = []
    seen: set[str] = set()
    for number, entry in enumerate(description.get("files", [])):
        path: KeyPath = ("files", number)
        origin, to = _names(entry)
        wrong = wrong_local(to)
        if wrong:
            right = f'write {{ from = "{origin}", to = "{Path(origin).name}" }}'
            report.add(path, f'"{to}" {wrong}', right)
        elif to in seen:
            report.add(path, f'"{to}" stands here twice', "give one of them another `to`")
        seen.add(to)
        file = _measured(base / origin, to, path, report)
        if file is not None:
            found.append(file)
    for to in seen:
        above = to.split("/")[:-1]
        for end in range(1, len(above) + 1):
            if "/".join(above[:end]) in seen:
                name = "/".join(above[:end])
                report.add(("files",), f'"{name}" is a file and a folder', "rename one of them")
    return found


def _names(entry: Any) -> tuple[str, str]:
    if isinstance(entry, str):
        return entry, os.path.normpath(entry)
    origin = entry.get("from", "")
    return origin, entry.get("to") or os.path.normpath(origin)


def _measured(path: Path, to: str, where: KeyPath, report: Report) -> LocalFile | None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read"
        report.add(where, f'"{path}": {reason}', "paths start at the description's folder")
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no ordinary file"
        report.add(where, f'"{path}" {kind}', "name the files themselves, or pack them")
        return None
    if not os.access(path, os.R_OK):
        report.add(where, f'"{path}" cannot be read', "give yourself the right to read it")
        return None
    if status.st_size > FILE_BYTES_MAX:
        size = show_size(status.st_size)
        report.add(where, f'"{path}" is {size}, at most 1 GiB', "put it at a URL, use inputs")
        return None
    return LocalFile(path, to, status.st_size, stat.S_IMODE(status.st_mode) & 0o777)


def check_use(
    description: Mapping[str, Any], found: Sequence[LocalFile], base: Path, report: Report
) -> None:
    """Commands that cannot start, and files that are here but are not sent along."""
    modes = {file.to: file.mode for file in found}
    for index, task in enumerate(description.get("task", [])):
        made = set(task.get("inputs", {}))
        for number, module in enumerate(task.get("module", [])):
            made |= set(module.get("write", {})) | set(task.get("outputs", {}))
            run = module.get("run", [])
            path: KeyPath = ("task", index, "module", number, "run")
            bare = not description.get("env") and not task.get("env") and not module.get("env")
            program = os.path.normpath(run[0]) if run and "/" in run[0] else ""
            if bare and program in modes and not modes[program] & 0o111:
                right = f'chmod +x {program}, or write its interpreter first: ["python3", ...]'
                report.add(path, f'"{run[0]}" is not executable', right)
            if bare and number == 0 and module.get("cwd", ".") == ".":
                _check_program(run[0] if run else "", {*modes, *made}, base, path, report)
            for word in run if module.get("cwd", ".") == "." else []:
                _check_sent(word, {*modes, *made}, base, path, report)


def _check_program(word: str, known: set[str], base: Path, path: KeyPath, report: Report) -> None:
    """Refuse a first command that is neither here nor brought in by anything."""
    program = os.path.normpath(word)
    if "/" not in word or "{" in word or os.path.isabs(word) or wrong_local(program):
        return
    brought = any(name.endswith("/") and program.startswith(name) for name in known)
    if not brought and program not in known and not os.path.lexists(base / program):
        report.add(path, f'"{word}" is not here: no unit would find it', "name a file that is")


def _check_sent(word: str, known: set[str], base: Path, path: KeyPath, report: Report) -> None:
    """Warn of a relative path that exists here and will not exist there."""
    if not word or "{" in word or os.path.isabs(word) or wrong_local(os.path.normpath(word)):
        return
    name = os.path.normpath(word)
    try:
        here = name not in known and (base / name).is_file()
    except (OSError, ValueError):
        return
    if here:
        right = f'write files = ["{name}"] if units need it'
        report.warn(path, f'"{name}" is here, but no unit will find it', right)

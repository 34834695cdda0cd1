"""Copying outputs to a folder: checked, resumed, and never outside that folder."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from node.cli.failures import Failed
from node.cli.output import console, harmless
from node.client import CHUNK_BYTES, Client, Json, path_of

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PAGE = 1000


@dataclass
class Done:
    """What a fetch came to."""

    files: int = 0
    bytes: int = 0
    kept: int = 0  # were there already, whole


class Fetcher:
    """Copies the outputs of one dataset below `folder`."""

    def __init__(self, client: Client, folder: Path, quiet: bool = False) -> None:
        self._client = client
        self._folder = folder
        self._done = Done()
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._quiet = quiet or not sys.stderr.isatty()

    def run(self, dataset: str, query: Json) -> Done:
        """Fetch everything that `query` (task, jobs) selects. Raises Failed, ClientError."""
        with self._shown():
            for output in self._outputs(dataset, query):
                self._fetch(dataset, output)
        return self._done

    def _shown(self) -> Any:
        if self._quiet:
            return nullcontext()
        from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=console(stderr=True), transient=True)
        self._bar = self._progress.add_task("fetching", total=None)
        return self._progress

    def _outputs(self, dataset: str, query: Json) -> Iterator[Json]:
        after: object = None
        path = path_of("datasets", dataset, "outputs")
        while True:
            reply = self._client.get(path, {**query, "limit": PAGE, "after": after})
            listed = reply.get("outputs") or []
            yield from (output for output in listed if isinstance(output, dict))
            after = reply.get("next")
            if after is None:
                return

    def _fetch(self, dataset: str, output: Json) -> None:
        job, task, path = output.get("job"), str(output.get("task")), str(output.get("path"))
        target = place(self._folder, job, task, path)
        digest, total = str(output.get("digest")), int(output.get("size") or 0)
        if _is_there(target, digest, total):
            self._done.kept += 1
            return
        prepare(self._folder, target.parent)
        source = path_of("units", dataset, str(job), task, "output", *path.split("/"))
        part = target.with_name(f".{target.name[:200]}.{digest[:16]}.part")
        try:
            self._copy(source, part, digest, f"{job}/{task}/{path}")
            if int(output.get("mode") or 0) & 0o100:
                part.chmod(0o755)
            os.replace(part, target)
        except OSError as error:
            raise Failed(f"cannot write {harmless(target)}: {error.strerror}") from None
        self._done.files += 1
        self._done.bytes += total

    def _copy(self, source: str, part: Path, digest: str, name: str) -> None:
        """`part` is the whole, checked file on return; it is removed when its bytes are wrong."""
        hashed = hashlib.blake2b(digest_size=32)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o644), "r+b") as file:
            while chunk := file.read(CHUNK_BYTES):
                hashed.update(chunk)
            with self._client.download(source, offset=file.tell()) as chunks:
                for chunk in chunks:
                    hashed.update(chunk)
                    file.write(chunk)
                    self._advance(name, len(chunk))
        if hashed.hexdigest() != digest:
            part.unlink()
            raise Failed(
                f"{harmless(name)} arrived with other bytes than were recorded",
                "fetch it again; if that repeats, floe verify tells whether the store is damaged",
            )

    def _advance(self, name: str, count: int) -> None:
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, advance=count, description=harmless(name))


def place(folder: Path, job: object, task: str, path: str) -> Path:
    """Where an output goes: folder/JOB/TASK/PATH. Raises Failed for names that lead elsewhere."""
    parts = PurePosixPath(path).parts
    wrong = (
        not isinstance(job, int)
        or not parts
        or path.startswith("/")
        or "\0" in path + task
        or any(part in ("..", ".", "") for part in (*path.split("/"), task))
        or "/" in task
    )
    if wrong:
        raise Failed(f"the output {harmless(path)!r} has a name that leads out of its folder")
    return folder / str(job) / task / Path(*parts)


def prepare(folder: Path, inner: Path) -> None:
    """Make `inner` below `folder`; no link on the way may lead elsewhere. Raises Failed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        at = folder
        for part in inner.relative_to(folder).parts:
            at = at / part
            if at.is_symlink():
                raise Failed(f"{at} is a link; fetch into a folder of its own")
            at.mkdir(exist_ok=True)
    except OSError as error:
        raise Failed(f"cannot write to {inner}: {error.strerror}") from None


def _is_there(target: Path, digest: str, total: int) -> bool:
    try:
        if target.is_symlink() or target.stat().st_size != total:
            return False
        with target.open("rb") as file:
            found = hashlib.blake2b(digest_size=32)
            while chunk := file.read(CHUNK_BYTES):
                found.update(chunk)
    except OSError:
        return False
    return found.hexdigest() == digest

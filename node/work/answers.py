"""What a pilot is told of the units that it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from node.model.dataset import Needs
from node.model.pilotspec import task_spec
from node.ranges import ranges_of
from node.work.ports import Known, Resolver
from node.work.sessions import Lease, Session

Missing = tuple[int, list[int], str]  # lease, jobs, why
HaveFiles = Callable[[Known], Awaitable[str]]
"""Has the files here that came with a dataset, which may be at other sites; why not, or ""."""


async def _all_here(known: Known) -> str:
    """Of a site that is alone: whatever came with a dataset came here."""
    return ""


class Answers:
    """Builds the work items and task descriptions of a poll's answer."""

    def __init__(
        self,
        known: Callable[[int], Known],
        resolver: Resolver,
        have_files: HaveFiles | None = None,
    ) -> None:
        self._known = known
        self._resolver = resolver
        self._have_files = have_files or _all_here
        self._specs: dict[str, dict[str, Any]] = {}  # of unfinished datasets, by spec id

    async def describe(
        self, session: Session, leases: list[Lease]
    ) -> tuple[list[dict[str, Any]], dict[str, Any], list[Missing]]:
        """Work items, the descriptions that they need, and units whose inputs are not to be had."""
        work: list[dict[str, Any]] = []
        specs: dict[str, Any] = {}
        missing: list[Missing] = []
        for lease in leases:
            known = self._known(lease.task.no // 64)
            if why := await self._have_files(known):
                missing.append((lease.no, sorted(lease.left), why))
                continue
            spec_id, spec = self._spec(known, lease.task.index)
            if spec_id not in session.specs:
                session.specs.add(spec_id)
                session.files.update(bytes.fromhex(file["digest"]) for file in spec["files"])
                specs[spec_id] = spec
            item = self._item(lease, spec_id, known)
            missing += await self._add_files(lease, known, spec, item)
            if lease.left and item["jobs"]:
                work.append(item)
        return work, specs, missing

    async def learn_blobs(self, session: Session) -> None:
        """Find out again which blobs the leases of before a restart may ask for."""
        for lease in [each for each in session.leases.values() if each.blobs is None]:
            known = self._known(lease.task.no // 64)
            _, spec = self._spec(known, lease.task.index)
            session.files.update(bytes.fromhex(file["digest"]) for file in spec["files"])
            await self._add_files(lease, known, spec, {})
            lease.blobs = lease.blobs or frozenset()

    def forget(self, dataset_id: bytes) -> None:
        """Drop what is kept of a dataset that has ended or changed."""
        start = dataset_id.hex() + "/"
        for spec_id in [each for each in self._specs if each.startswith(start)]:
            del self._specs[spec_id]

    def _spec(self, known: Known, index: int) -> tuple[str, dict[str, Any]]:
        spec_id = f"{known.spec.id.hex()}/{index}/{known.jobs}"
        spec = self._specs.get(spec_id)
        if spec is None:
            spec = self._specs[spec_id] = task_spec(known.spec, index)
        return spec_id, spec

    def _item(self, lease: Lease, spec_id: str, known: Known) -> dict[str, Any]:
        item: dict[str, Any] = {
            "lease": lease.no,
            "spec": spec_id,
            "jobs": ranges_of(lease.left),
        }
        if lease.needs != known.spec.tasks[lease.task.index].needs:
            item["needs"] = needs_of(lease.needs)
        if lease.task.tries:
            attempts = {
                str(job): tried.attempts + 1
                for job, tried in lease.task.tries.items()
                if job in lease.left
            }
            if attempts:
                item["attempts"] = attempts
        return item

    async def _add_files(
        self, lease: Lease, known: Known, spec: dict[str, Any], item: dict[str, Any]
    ) -> list[Missing]:
        """Inputs that other units made, and rows of a foreach file."""
        made = any("task" in entry for entry in spec["inputs"])
        rows = known.spec.foreach is not None
        if not made and not rows:
            return []
        found = await self._resolver.resolve(known, lease.task, sorted(lease.left))
        left = lease.left
        if rows:
            item["rows"] = {str(job): row for job, row in found.rows.items() if job in left}
        if made:
            item["inputs"] = {str(job): got for job, got in found.inputs.items() if job in left}
            item["read"] = {str(job): read for job, read in found.read.items() if job in left}
            lease.blobs = frozenset(
                bytes.fromhex(entry[1]) for got in found.inputs.values() for entry in got
            )
        missing: dict[str, list[int]] = {}
        for job, why in found.missing.items():
            missing.setdefault(why, []).append(job)
        if found.missing:
            item["jobs"] = ranges_of(left - found.missing.keys())
        return [(lease.no, jobs, why) for why, jobs in missing.items()]


def needs_of(needs: Needs) -> dict[str, int]:
    """As the pilot reads them."""
    return {
        "cpu": needs.cpu,
        "gpu": needs.gpu,
        "memory_bytes": needs.memory_bytes,
        "disk_bytes": needs.disk_bytes,
        "time_s": needs.time_s,
    }

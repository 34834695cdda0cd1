"""The user API: every address below /v1, and which service answers it. See docs/api.md."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keys.sshsig import PublicKey
from node.http import limits
from node.http.auth import Logins
from node.http.json import ApiError, field
from node.http.router import Answer, Call, Reply, Route, Stream
from node.services.admin import AdminOrders
from node.services.blobs import BlobService
from node.services.commands import Commands
from node.services.invitations import Invitations
from node.services.joining import Joiner
from node.services.listings import Listings
from node.services.members import MemberOrders
from node.services.people import People, Person
from node.services.pilotorders import PilotOrders
from node.services.recovery import Recovery
from node.services.sitesettings import SiteSettings
from node.services.sitetests import SiteTests
from node.services.siteviews import SiteViews
from node.services.status import StatusViews
from node.services.submit import Submissions
from node.services.units import UnitViews
from node.services.views import DatasetViews

Value = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a listing was asked for; None: everything."""

    state: str | None = None
    task: str | None = None
    jobs: tuple[int, ...] | None = None  # flat half-open ranges
    limit: int = limits.PAGE
    after: str = ""


@dataclass(frozen=True, slots=True)
class Api:
    """The handlers, with the services that they call."""

    logins: Logins
    people: People
    submissions: Submissions
    commands: Commands
    blobs: BlobService
    sets: DatasetViews
    units: UnitViews
    listings: Listings
    status: StatusViews
    site: SiteViews
    admin: AdminOrders
    pilots: PilotOrders
    settings: SiteSettings
    tests: SiteTests
    recovery: Recovery
    members: MemberOrders
    joiner: Joiner
    invitations: Invitations

    def routes(self) -> list[Route]:
        """Every route of the user API."""
        dataset, unit = "/v1/datasets/{ref}", "/v1/units/{ref}/{job}/{task}"
        return [
            Route("GET", "/v1/ping", self.ping, login=False),
            Route("POST", "/v1/login", self.login, login=False),
            Route("POST", "/v1/login/answer", self.login_answer, login=False),
            Route("GET", "/v1/status", self.plain(self.status.status)),
            Route("GET", "/v1/site", self.plain(self.site.site)),
            Route("GET", "/v1/pilots", self.list_pilots),
            Route("GET", "/v1/usage", self.plain(self.status.usage)),
            Route("GET", "/v1/store", self.plain(self.status.store)),
            Route("GET", "/v1/recovery", self.plain(self.recovery.shown), role="admin"),
            Route("POST", "/v1/recovery", self.recover, role="admin"),
            Route("POST", "/v1/recovery/copy", self.decide, role="admin"),
            Route("GET", "/v1/mesh/members", self.plain(self.members.shown)),
            Route("POST", "/v1/mesh/members", self.order_members, role="admin"),
            Route("POST", "/v1/mesh/open", self.ordered(self.members.open), role="admin"),
            Route("POST", "/v1/mesh/join", self.join_mesh, role="admin"),
            Route("GET", "/v1/mesh/invitations", self.plain(self.invitations.shown), role="admin"),
            Route("POST", "/v1/mesh/invitations", self.note_invitation, role="admin"),
            Route(
                "POST",
                "/v1/mesh/invitations/withdraw",
                self.ordered(self.invitations.withdraw),
                role="admin",
            ),
            Route("POST", "/v1/mesh/names", self.ordered(self.members.rename), role="admin"),
            Route(
                "POST",
                "/v1/mesh/addresses",
                self.ordered(self.members.say_addresses),
                role="admin",
            ),
            Route("GET", "/v1/people", self.list_people),
            Route("POST", "/v1/people", self.order_people),
            Route("POST", "/v1/blobs/missing", self.missing_blobs),
            Route("PUT", "/v1/blobs/{digest}", self.put_blob),
            Route("GET", "/v1/datasets", self.list_datasets),
            Route("POST", "/v1/datasets", self.submit, long=True),
            Route("POST", "/v1/commands", self.command),
            Route("GET", dataset, self.of_dataset(self.sets.dataset)),
            Route("GET", f"{dataset}/document", self.of_dataset(self.sets.document)),
            Route("GET", f"{dataset}/errors", self.of_dataset(self.listings.errors)),
            Route("GET", f"{dataset}/why", self.of_dataset(self.sets.why)),
            Route("GET", f"{dataset}/jobs", self.listing(self.listings.jobs)),
            Route("GET", f"{dataset}/outputs", self.listing(self.listings.outputs)),
            Route("GET", f"{dataset}/wait", self.wait, long=True),
            Route("GET", unit, self.of_unit(self.units.unit)),
            Route("GET", f"{unit}/why", self.of_unit(self.units.why_unit)),
            Route("GET", f"{unit}/outputs", self.unit_outputs),
            Route("GET", f"{unit}/log", self.log),
            Route("GET", f"{unit}/log/live", self.tail, long=True),
            Route("GET", f"{unit}/output/{{path*}}", self.output),
            Route("POST", "/v1/admin/drain", self.ordered(self.admin.drain), role="admin"),
            Route("POST", "/v1/admin/allow", self.ordered(self.admin.allow), role="admin"),
            Route("POST", "/v1/admin/pilots", self.ordered(self.pilots.order), role="admin"),
            Route("POST", "/v1/admin/test", self.ordered(self.tests.order), role="admin"),
            Route("POST", "/v1/admin/reload", self.ordered(self.settings.reload), role="admin"),
            Route("POST", "/v1/admin/limits", self.ordered(self.settings.limits), role="admin"),
            Route("POST", "/v1/admin/backup", self.ordered(self.admin.backup), role="admin"),
            Route(
                "POST", "/v1/admin/pilot-token", self.ordered(self.admin.pilot_token), role="admin"
            ),
            Route("POST", "/v1/admin/shutdown", self.shutdown, role="admin"),
        ]

    # Shapes that several routes share

    def plain(self, view: Callable[[], Awaitable[Value]]) -> Callable[[Call], Awaitable[Answer]]:
        async def handle(call: Call) -> Answer:
            return Reply(await view())

        return handle

    def of_dataset(
        self, view: Callable[[Person, str], Awaitable[Value]]
    ) -> Callable[[Call], Awaitable[Answer]]:
        async def handle(call: Call) -> Answer:
            return Reply(await view(_asking(call), call.names["ref"]))

        return handle

    def listing(
        self, view: Callable[[Person, str, Asked], Awaitable[Value]]
    ) -> Callable[[Call], Awaitable[Answer]]:
        async def handle(call: Call) -> Answer:
            return Reply(await view(_asking(call), call.names["ref"], _asked(call)))

        return handle

    def of_unit(
        self, view: Callable[[Person, str, int, str], Awaitable[Value]]
    ) -> Callable[[Call], Awaitable[Answer]]:
        async def handle(call: Call) -> Answer:
            return Reply(await view(_asking(call), *_unit(call)))

        return handle

    def ordered(
        self, order: Callable[[Value, Person], Awaitable[Value]]
    ) -> Callable[[Call], Awaitable[Answer]]:
        async def handle(call: Call) -> Answer:
            return Reply(await order(call.body(), _asking(call)))

        return handle

    # Who is there, and who asks

    async def ping(self, call: Call) -> Answer:
        return Reply(self.status.ping())

    async def login(self, call: Call) -> Answer:
        challenge = self.logins.challenge(field(call.body(), "key", str))
        return Reply({"challenge": challenge, "expires_s": limits.CHALLENGE_S})

    async def login_answer(self, call: Call) -> Answer:
        body = call.body()
        token, person = self.logins.answer(
            field(body, "challenge", str), field(body, "signature", str)
        )
        return Reply({"token": token, "expires_s": limits.TOKEN_S, "name": person.name})

    async def list_pilots(self, call: Call) -> Answer:
        limit = call.number("limit", limits.PAGE_MAX, 1, limits.PAGE_MAX)
        return Reply(await self.site.pilots(call.text("system"), call.text("state"), limit))

    async def list_people(self, call: Call) -> Answer:
        return Reply({"people": [_shown(person) for person in self.people.all()]})

    async def order_people(self, call: Call) -> Answer:
        document, signature = _signed(call.body())
        person = await self.people.order(document, signature, _asking(call))
        return Reply({"person": _shown(person)})

    # The sites of the mesh

    async def order_members(self, call: Call) -> Answer:
        document, signature = _signed(call.body())
        return Reply(await self.members.order(document, signature, _asking(call)))

    async def note_invitation(self, call: Call) -> Answer:
        document, signature = _signed(call.body())
        return Reply(await self.invitations.note(document, signature, _asking(call)))

    async def join_mesh(self, call: Call) -> Answer:
        body = call.body()
        document, signature = _signed(body)
        return Reply(await self.joiner.join(document, signature, body, _asking(call)))

    # Work

    async def missing_blobs(self, call: Call) -> Answer:
        digests = field(call.body(), "digests", list)
        if len(digests) > limits.DIGESTS_MAX:
            raise ApiError(413, "too many digests at once", f"at most {limits.DIGESTS_MAX:,}")
        missing = await self.blobs.missing([_digest(text) for text in digests])
        return Reply({"missing": [digest.hex() for digest in missing]})

    async def put_blob(self, call: Call) -> Answer:
        digest = _digest(call.names["digest"])
        size = await self.blobs.put(call.request.content, digest)
        return Reply({"digest": digest.hex(), "size": size}, 201)

    async def submit(self, call: Call) -> Answer:
        body = call.body()
        wanted = field(body, "wait_stored", int) if "wait_stored" in body else None
        document, signature = _signed(body)
        asking = _asking(call)
        return Reply(await self.submissions.submit(document, signature, asking, wanted))

    async def command(self, call: Call) -> Answer:
        document, signature = _signed(call.body())
        return Reply(await self.commands.order(document, signature, _asking(call)))

    async def list_datasets(self, call: Call) -> Answer:
        before = call.number("before", 0, 0, 1 << 60)
        return Reply(
            await self.sets.datasets(
                _asking(call),
                mine=call.flag("mine"),
                limit=call.number("limit", limits.PAGE, 1, limits.PAGE_MAX),
                before=before or None,
            )
        )

    async def wait(self, call: Call) -> Answer:
        timeout_s = call.seconds("timeout", limits.WAIT_S_MAX, limits.WAIT_S_MAX)
        return Reply(
            await self.sets.wait(_asking(call), call.names["ref"], timeout_s, call.when_gone)
        )

    async def unit_outputs(self, call: Call) -> Answer:
        return Reply(await self.units.unit_outputs(_asking(call), *_unit(call), _attempt(call)))

    async def log(self, call: Call) -> Answer:
        digest = await self.units.log(_asking(call), *_unit(call), _attempt(call))
        return await self._blob(digest, "text/plain; charset=utf-8")

    async def tail(self, call: Call) -> Answer:
        offset = call.number("offset", 0, 0, limits.BLOB_BYTES_MAX)
        return Reply(await self.units.tail(_asking(call), *_unit(call), offset))

    async def output(self, call: Call) -> Answer:
        ref, job, task = _unit(call)
        path = call.names["path"]
        digest = await self.units.output(_asking(call), ref, job, task, path, _attempt(call))
        return await self._blob(digest, "application/octet-stream")

    async def _blob(self, digest: bytes, kind: str) -> Answer:
        file, size = await self.blobs.open(digest)
        return Stream(file, size, kind, digest.hex())

    async def recover(self, call: Call) -> Answer:
        document, signature = _signed(call.body())
        return Reply(await self.recovery.force(document, signature, _asking(call)))

    async def decide(self, call: Call) -> Answer:
        newest = call.body().get("newest")
        if not isinstance(newest, bool):
            raise ApiError(400, "newest is neither true nor false", '{"newest": true}')
        return Reply(await self.recovery.decide(newest, _asking(call)))

    async def shutdown(self, call: Call) -> Answer:
        return Reply(await self.admin.shutdown(_asking(call)))


def _asking(call: Call) -> Person:
    person = call.person
    assert isinstance(person, Person)
    return person


def _unit(call: Call) -> tuple[str, int, str]:
    names = call.names
    job = names["job"]
    if not (job.isascii() and job.isdigit() and len(job) < 19):
        raise ApiError(404, f"{job[:40]!r} is no job", "jobs are whole numbers from 0")
    return names["ref"], int(job), names["task"]


def _attempt(call: Call) -> int | None:
    return call.number("attempt", 0, 0, 1 << 31) or None


def _asked(call: Call) -> Asked:
    jobs = call.text("jobs")
    return Asked(
        state=call.text("state") or None,
        task=call.text("task") or None,
        jobs=job_ranges(jobs) if jobs else None,
        limit=call.number("limit", limits.PAGE, 1, limits.PAGE_MAX),
        after=call.text("after"),
    )


def job_ranges(text: str) -> tuple[int, ...]:
    """ "0-9,12" as flat half-open ranges (0, 10, 12, 13), sorted and joined. Raises ApiError."""
    pairs: list[tuple[int, int]] = []
    for piece in text.split(","):
        low, dash, high = piece.partition("-")
        if not _is_job(low) or (dash and not _is_job(high)):
            raise ApiError(400, f"{piece[:40]!r} is no range of jobs", "write 7, 0-99 or 5,8-9")
        first, last = int(low), int(high) if dash else int(low)
        if last < first:
            raise ApiError(400, f"{piece[:40]!r} ends before it begins")
        pairs.append((first, last + 1))
    flat: list[int] = []
    for first, end in sorted(pairs):
        if flat and first <= flat[-1]:
            flat[-1] = max(flat[-1], end)
        else:
            flat += (first, end)
    return tuple(flat)


def _is_job(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _shown(person: Person) -> dict[str, Any]:
    key = PublicKey(person.key)
    return {
        "name": person.name,
        "key": key.line(),
        "fingerprint": key.fingerprint(),
        "groups": list(person.groups),
        "roles": list(person.roles),
        "site": person.at or None,
        "active": True,
    }


def _digest(text: object) -> bytes:
    try:
        digest = bytes.fromhex(text) if isinstance(text, str) and len(text) == 64 else b""
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ApiError(400, f"{str(text)[:80]!r} is no digest", "64 hex digits of BLAKE2b-256")
    return digest


def _signed(body: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """(document, signature) of a request. Raises ApiError."""
    document = _unbase64(body, "document", limits.DOCUMENT_BYTES_MAX)
    return document, _unbase64(body, "signature", limits.SIGNATURE_BYTES_MAX)


def _unbase64(body: Mapping[str, Any], name: str, bytes_max: int) -> bytes:
    text = field(body, name, str)
    if len(text) > bytes_max * 4 // 3 + 4:
        raise ApiError(413, f"the {name} is too large", f"at most {bytes_max:,} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, f"the {name} is not base64") from None

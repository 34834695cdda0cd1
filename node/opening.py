"""Opening a home: its keys, its store, and in which generation the site may write."""

from __future__ import annotations

import base64
import ctypes
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from federation.ids import ShardID, SiteID, UserKey
from federation.records import Found, Record, Site, UserAdd
from keys.certificate import ApiCertificate, load_api_certificate
from keys.identity import SiteKey
from keys.signing import Purpose, digest
from node.config import Config
from node.fold import Fold
from node.home import Home, HomeError
from node.model.commands import read_command
from node.model.person import BadPerson, read_person
from node.model.validate import read_submission
from node.store import branches, folded
from node.store.database import Database, OldTables
from node.store.generation import begin_generation
from node.store.highwater import HighWater, Standing

log = Logger()

SHARD_NONCE_BYTES = 16
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class Opened:
    """A home that this process alone holds."""

    key: SiteKey
    certificate: ApiCertificate
    database: Database
    highwater: HighWater
    generation: int
    continued: bool  # it was written in before this start
    standing: Standing
    why: str  # how the high-water file and the database agree, for people
    doubt: bool  # nothing may be written before it is known whether this is the newest copy


def make_undumpable() -> None:
    """No core file and no debugger of the same account may read our keys."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warn("this process could not be made undumpable: other programs may read its memory")


def open_home(home: Home, config: Config) -> Opened:
    """Take the home. Raises HomeError, KeyFileError, StoreError."""
    if not home.exists():
        raise HomeError(f"there is no site in {home.path}; make one: floe init --name NAME")
    home.create()
    key = SiteKey.load(home.site_key)
    certificate = load_api_certificate(home.api_certificate)
    database = Database.open(home.path, network_home=config.store.network_home)
    try:
        return _opened(home, key, certificate, database, config.store.host)
    except BaseException:
        database.close()
        raise


def _opened(
    home: Home, key: SiteKey, certificate: ApiCertificate, database: Database, host: str
) -> Opened:
    if not folded.is_current(database.writer):
        raise OldTables(
            f"the tables in {database.path} were made by another version of Icefloe; nothing was"
            " changed. Make them anew from the log, which stays as it is: floe store rebuild"
        )
    highwater = HighWater(home.highwater, home.database, host=host or None)
    site = SiteID(key.site)
    for feed in branches.take(database.writer, site, Fold(site, read_submission, read_command)):
        log.warn(
            "went over to the other branch of generation {generation} of site {site}",
            generation=feed.generation,
            site=feed.site.hex()[:8],
        )
    check = begin_generation(database, site, highwater)
    return Opened(
        key, certificate, database, highwater, check.generation, check.continued, check.standing,
        check.why, check.doubt,
    )  # fmt: skip


def first_records(
    home: Home,
    site: SiteID,
    name: str,
    version: str,
    random: Callable[[int], bytes],
    *,
    enrolled: bool = False,
) -> list[Record]:
    """What a generation writes before anything else: the name, a shard, the first admin.

    enrolled: an earlier generation enrolled somebody already.
    Raises HomeError when the enrolment that `floe init` left is not as it should be.
    """
    nonce = random(SHARD_NONCE_BYTES)
    shard = ShardID(digest(Purpose.SHARD, site + nonce))
    records: list[Record] = [Site(name, version), Found(shard, nonce, [site])]
    if home.enrol.exists() and not enrolled:
        records.append(read_enrolment(home.enrol))
    return records


def read_enrolment(path: Path) -> UserAdd:
    """The first admin, as `floe init` signed it. Raises HomeError."""
    try:
        kept = json.loads(path.read_bytes())
        document = base64.b64decode(kept["document"], validate=True)
        signature = base64.b64decode(kept["signature"], validate=True)
        order = read_person(document)
    except (OSError, ValueError, KeyError, TypeError, BadPerson) as error:
        raise HomeError(f"{path} enrols nobody: {error}; run floe init in a new home") from None
    key = UserKey(order.key.raw)
    return UserAdd(key, order.name, order.groups, order.roles, document, signature, key)

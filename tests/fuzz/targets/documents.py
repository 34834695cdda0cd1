"""Signed documents and invitations."""

from __future__ import annotations

import base64
import hashlib
import zlib

from federation import codec
from federation.ids import EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from keys.identity import SiteKey
from node.model import commands, member, person, validate
from node.model.force import ForceOrder, read_force, write_force
from node.model.problems import Invalid
from node.model.token import BadToken, Token, read_token, write_token
from tests.fuzz.forms import JSON, MSGPACK, TEXT
from tests.fuzz.target import Target
from tests.unit.node.http.people import ANA
from tests.unit.node.model.drafts import built, small
from tests.unit.node.model.test_member import ADD, INVITE, POLICY, REMOVE

SECRET = b"s" * 32
SITE = SiteID(SiteKey(b"a" * 32).site)
DATASET = bytes(range(32))
NONCE = bytes(16)
FORCE = ForceOrder(
    shard=ShardID(b"s" * 32),
    term=3,
    leader=FeedID(SITE, 2, Lane.CONTROL),
    cut=EntryRef(FeedID(SITE, 1, Lane.CONTROL), 9, EntryID(b"e" * 32)),
    nonce=NONCE,
)
ORDERS = {
    "pause": ("pause", {}),
    "cancel": ("cancel", {"select": {"tasks": ["sim"], "jobs": [0, 5, 7, 8]}}),
    "edit": ("edit", {"needs": {"sim": {"memory": "3GB"}}, "priority": 5}),
    "extend": ("extend", {"jobs": 100}),
}
PERSON = person.PersonOrder("user.add", SITE, ANA.key, "ana", ("physics",), ("admin",), NONCE.hex())
INVITATION = member.write(
    member.Invite(SITE, "desy", ("desy.example:7421",), member.hash_secret(SECRET), 1, NONCE)
)


def read_token_of(packed: bytes) -> Token:
    """The token that holds these bytes, its checksum right."""
    check = hashlib.blake2b(packed, digest_size=4, person=b"floe token").digest()
    data = base64.urlsafe_b64encode(check + packed).decode().rstrip("=")
    return read_token(f"floe1.{len(data)}.{data}")


def _write_command(order: commands.Command) -> bytes:
    return commands.command_document(
        order.dataset, order.verb, order.args, order.follows, order.nonce
    )


def _write_token(token: Token) -> bytes:
    return write_token(token.secret, token.document, token.signature).encode()


def _write_content(token: Token) -> bytes:
    return codec.pack([token.secret, token.document, token.signature])


def _token() -> bytes:
    return write_token(SECRET, INVITATION, ANA.sign(INVITATION)).encode()


def _submissions() -> dict[str, bytes]:
    tasks = [
        {"name": "sim", "outputs": ["a.npz"], "module": [{"run": ["true", "{job}"]}]},
        {
            "name": "reco",
            "after": ["sim"],
            "inputs": {"a.npz": "sim/a.npz"},
            "needs": {"gpu": 1, "memory": "8GB", "time": "2h"},
            "module": [{"run": ["python3", "reco.py"], "exit": {"ok": [0, 3]}}],
        },
    ]
    described = small(jobs=100, params={"seed": "{20000 + job}"}, task=tasks)
    rows = small(foreach={"rows": [{"run": 1, "file": "a"}, {"run": 2, "file": "b"}]})
    waiting = small(task=[{**tasks[0], "after": ["other/sim"]}])
    found = {"small": small(), "two tasks": described, "rows": rows, "waiting": waiting}
    return {name: built(table).document for name, table in found.items()}


TARGETS = (
    Target(
        "member-document",
        member.read,
        (Invalid,),
        lambda: {
            type(order).__name__: member.write(order) for order in (ADD, INVITE, REMOVE, POLICY)
        },
        JSON,
        member.write,
        strict=True,
    ),
    Target(
        "person-document",
        person.read_person,
        (person.BadPerson,),
        lambda: {"add": person.write_person(PERSON)},
        JSON,
        person.write_person,
        strict=True,
    ),
    Target(
        "force-document",
        read_force,
        (Invalid,),
        lambda: {"force": write_force(FORCE)},
        JSON,
        write_force,
        strict=True,
    ),
    Target(
        "command-document",
        commands.read_command,
        (Invalid,),
        lambda: {
            name: commands.command_document(DATASET, verb, args, [DATASET], NONCE)
            for name, (verb, args) in ORDERS.items()
        },
        JSON,
        _write_command,
        strict=True,
    ),
    Target("submission", validate.read_submission, (Invalid,), _submissions, JSON),
    Target(
        "stored-document",
        validate.unpack_document,
        (Invalid,),
        lambda: {
            "small": validate.pack_document(_submissions()["small"]),
            "zeros": zlib.compress(bytes(5_000_000), 9),
            "twice": validate.pack_document(b"{}") * 2,
        },
        write=validate.pack_document,
        canonical=lambda data: False,  # zlib has many forms of one content
    ),
    Target(
        "token",
        lambda data: read_token(data.decode("utf-8", "replace")),
        (BadToken,),
        lambda: {"invitation": _token()},
        TEXT,
        _write_token,
        canonical=lambda data: data == b"".join(data.split()),
    ),
    Target(
        "token-content",
        read_token_of,
        (BadToken,),
        lambda: {"invitation": codec.pack([SECRET, INVITATION, ANA.sign(INVITATION)])},
        MSGPACK,
        _write_content,
    ),
)

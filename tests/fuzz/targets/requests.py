"""Bodies of relayed and direct requests between sites, and of their answers."""

from __future__ import annotations

import json

from federation import canvass, claims, joining
from federation.claims import Answer, Claim, Held, Recall, Recalled, Verdict
from federation.entryrequests import read_ref, write_ref
from federation.errors import PeerError, RemoteRefused
from federation.ids import DatasetID, EntryID, EntryRef, FeedID, Lane, ShardID, SiteID
from federation.joining import JoinAnswer, JoinRequest
from federation.shapes import Shape, Workers
from node.fold.roots import VERSION
from node.meshing import filenames, roots, units
from node.meshing.filenames import OfAttempt, OfDataset, Piece
from node.model.outputs import output_list
from tests.fuzz.forms import JSON, MSGPACK
from tests.fuzz.target import Target
from tests.unit.federation.test_canvass import ANSWER, QUESTION

SITE = SiteID(b"s" * 32)
ENTRY = EntryRef(FeedID(SITE, 1, Lane.RESULTS), 7, EntryID(b"e" * 32))
IN_CONTROL = EntryRef(FeedID(SITE, 1, Lane.CONTROL), 7, EntryID(b"e" * 32))
SHAPE = Shape(1, 0, 2000, 5000, 14_400)
WORKERS = (Workers(64, 0, 256_000, 900_000, 86_400, 40, 120),)
CLAIM = Claim(SHAPE, 900, 40, 7000, WORKERS, (Held(b"dataset1", 12),))
DATASET = DatasetID(b"d" * 32)
DIGEST = b"f" * 32
JOIN = JoinRequest("desy", ("desy.example:7421",), b"s" * 32, b'{"floe":1}', b"signature")
ROOTS = {"fold": VERSION, "roots": {"ab" * 32: [[5, "root"], [9, "other"]]}}
OUTPUTS = [{"path": "a/b.npz", "digest": "0f" * 32, "size": 10, "mode": 420}]
PIECES = {
    "of a dataset": Piece(OfDataset(DATASET), DIGEST, 0),
    "of an attempt": Piece(OfAttempt(DATASET, 1, 7, ENTRY), DIGEST, 65_536),
}
UNIT = units.UnitName(DATASET, 1, 7)

_PEER = (PeerError,)

TARGETS = (
    Target("entry-ref", read_ref, _PEER, lambda: {"ref": write_ref(ENTRY)}, MSGPACK, write_ref),
    Target(
        "canvass-question",
        canvass.read_question,
        _PEER,
        lambda: {"question": QUESTION.pack()},
        MSGPACK,
        canvass.Question.pack,
    ),
    Target(
        "canvass-answer",
        canvass.read_answer,
        _PEER,
        lambda: {"answer": ANSWER.pack()},
        MSGPACK,
        canvass.Answer.pack,
    ),
    Target(
        "claim",
        claims.read_claim,
        _PEER,
        lambda: {"claim": claims.write_claim(CLAIM)},
        MSGPACK,
        claims.write_claim,
    ),
    Target(
        "claim-answer",
        claims.read_answer,
        _PEER,
        lambda: {"granted": claims.write_answer(Answer(Verdict.GRANTED, (IN_CONTROL,), 40, 0))},
        MSGPACK,
        claims.write_answer,
    ),
    Target(
        "recall",
        claims.read_recall,
        _PEER,
        lambda: {"recall": claims.write_recall(Recall(ShardID(b"s" * 32), DATASET, 1, (1, 2), 9))},
        MSGPACK,
        claims.write_recall,
    ),
    Target(
        "recalled",
        claims.read_recalled,
        _PEER,
        lambda: {"recalled": claims.write_recalled(Recalled(9))},
        MSGPACK,
        claims.write_recalled,
    ),
    Target(
        "join-request",
        joining.read_request,
        _PEER,
        lambda: {"join": joining.write_request(JOIN)},
        MSGPACK,
        joining.write_request,
    ),
    Target(
        "join-answer",
        joining.read_answer,
        _PEER,
        lambda: {"taken": joining.write_answer(JoinAnswer("taken", "welcome", 1, 1, 2))},
        MSGPACK,
        joining.write_answer,
    ),
    Target(
        "file-piece",
        filenames.read_piece,
        _PEER,
        lambda: {name: filenames.write_piece(piece) for name, piece in PIECES.items()},
        MSGPACK,
        filenames.write_piece,
    ),
    Target(
        "file-answer",
        filenames.read_answer,
        _PEER,
        lambda: {"piece": filenames.write_answer(900, b"x" * 90)},
        MSGPACK,
        lambda found: filenames.write_answer(*found),
    ),
    Target(
        "files",
        filenames.read_many,
        _PEER,
        lambda: {"two": filenames.write_many(list(PIECES.values()))},
        MSGPACK,
    ),
    Target(
        "files-answer",
        lambda data: filenames.read_contents(data, 2),
        _PEER,
        lambda: {"one of two": filenames.write_contents([b"x" * 90, None])},
        MSGPACK,
        filenames.write_contents,
    ),
    Target(
        "unit-question",
        units.read_ask,
        (RemoteRefused,),
        lambda: {"unit": units.write_ask(UNIT, 12)},
        MSGPACK,
        lambda asked: units.write_ask(*asked),
    ),
    Target(
        "roots",
        roots.read_roots,
        (RemoteRefused,),
        lambda: {"roots": json.dumps(ROOTS).encode()},
        JSON,
    ),
    # A list of outputs is a blob, which another site may have sent.
    Target(
        "output-list",
        output_list,
        (ValueError,),
        lambda: {"one": json.dumps(OUTPUTS).encode()},
        JSON,
    ),
)

"""Documents that enrol a person."""

from __future__ import annotations

import json

import pytest

from keys.sshsig import COMMENT_CHARS_MAX, PublicKey
from node.model.person import BadPerson, PersonOrder, canonical, read_person, write_person
from tests.unit.node.http.people import ANA

KEY = PublicKey(ANA.key.raw, "ana@desy")
ORDER = PersonOrder("user.add", bytes(32), KEY, "ana", ("nu",), ("admin",), 32 * "0")


def test_what_was_written_is_read() -> None:
    assert read_person(write_person(ORDER)) == ORDER


@pytest.mark.parametrize("comment", ["a" * (COMMENT_CHARS_MAX + 1), "a\u0007b", " ana"])
def test_a_key_that_would_be_shown_otherwise_than_it_was_signed_is_refused(comment: str) -> None:
    value = json.loads(write_person(ORDER))
    value["key"] = value["key"].replace("ana@desy", comment)
    with pytest.raises(BadPerson, match='"key" is not as it would be shown'):
        read_person(canonical(value))

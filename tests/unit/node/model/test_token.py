"""Tokens: what people copy, mail and tear."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation.ids import SiteID
from keys.identity import SiteKey
from node.model.member import Invite, hash_secret, write
from node.model.token import TOKEN_CHARS_MAX, BadToken, Token, read_token, write_token
from tests.unit.node.http.people import ANA
from tests.vectors import make

CORPUS = json.loads((Path(make.__file__).parent / "members.json").read_text("utf-8"))
SECRET = b"s" * 32
SITE = SiteID(SiteKey(b"a" * 32).site)


def token(addresses: tuple[str, ...] = ("desy.example:7421",)) -> str:
    document = write(Invite(SITE, "desy", addresses, hash_secret(SECRET), 1, bytes(16)))
    return write_token(SECRET, document, ANA.sign(document))


def refusal(text: str) -> BadToken:
    with pytest.raises(BadToken) as caught:
        read_token(text)
    return caught.value


def test_a_token_holds_the_permission_and_the_secret() -> None:
    found = read_token(token())
    assert isinstance(found, Token)
    assert (found.secret, found.signer.raw) == (SECRET, ANA.key.raw)
    assert (found.invite.by, found.invite.name) == (SITE, "desy")
    assert found.invite.addresses == ("desy.example:7421",)


def test_a_token_is_one_word_of_plain_characters() -> None:
    text = token()
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert len(text) < 1000


def test_mail_may_wrap_a_token() -> None:
    assert read_token("  " + "\r\n".join(textwrap.wrap(token(), 60)) + "\n") == read_token(token())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is no token of floe mesh invite"),
        ("floe mesh join " + token(), "this is no token"),
        ("floe2" + token()[5:], "made by a newer floe"),
        (token()[:-9], "torn: 9 of"),
        (token() + "AB", "torn: 2 characters too many"),
        (token()[:80] + token()[81:] + "A", "was changed on its way"),
        (token()[:-1] + "*", "characters that none can have"),
        ("x" * (TOKEN_CHARS_MAX + 1), "this is no token: it has 8,193 characters"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    error = refusal(text)
    assert words in str(error)
    assert error.right


def test_what_no_admin_could_have_made_is_refused() -> None:
    document = write(Invite(SITE, "desy", (), hash_secret(SECRET), 1, bytes(16)))
    good = ANA.sign(document)
    assert "secret is not" in str(refusal(write_token(b"x" * 32, document, good)))
    assert "nobody signed" in str(refusal(write_token(SECRET, document, good[:-1] + b"x")))
    assert "holds no invitation" in str(refusal(write_token(SECRET, b"{}", good)))


@given(st.text(max_size=200))
@example("floe1.4.AAAA")
@example("floe1.1.é")
@example("floe1.99999.")
@example("floe1.٤.AAAA")
def test_any_text_is_refused(text: str) -> None:
    refusal(text)


@given(at=st.integers(0, 2000), with_=st.characters(codec="utf-8"))
def test_one_changed_character_is_noticed(at: int, with_: str) -> None:
    good = CORPUS["token"]
    at %= len(good)
    changed = good[:at] + with_ + good[at + 1 :]
    if "".join(changed.split()) != good and changed != good:
        refusal(changed)


@given(start=st.integers(0, 2000), length=st.integers(1, 2000))
def test_a_torn_token_is_noticed(start: int, length: int) -> None:
    good = CORPUS["token"]
    start %= len(good)
    refusal(good[:start] + good[start + length :])


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_in_a_whole_token_are_refused(fields: list[bytes]) -> None:
    padded = [*fields, b"", b"", b""][:3]
    refusal(write_token(*padded))

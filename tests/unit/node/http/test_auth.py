"""Logging in: each way in which it must not work, and the one in which it does."""

import base64

import pytest

from node.http import limits
from node.http.auth import Logins, login_message
from node.http.json import ApiError
from tests.unit.node.http.people import ANA, BEN, EVE

SITE = "site-in-base32"


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Random:
    """Different bytes at every call."""

    count = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def people():
    return {person.person.key: person.person for person in (ANA, BEN)}


@pytest.fixture
def logins(clock, people):
    return Logins(SITE, people.get, clock, Random())


def log_in(logins, who=ANA):
    challenge = logins.challenge(who.key.line())
    return logins.answer(challenge, who.sign_armored(login_message(SITE, challenge)))


def refused(status, call, *args):
    with pytest.raises(ApiError) as caught:
        call(*args)
    assert caught.value.status == status, caught.value.message
    return caught.value


def test_a_signed_challenge_gives_a_token_that_names_its_person(logins):
    token, person = log_in(logins)
    assert person.name == "ana"
    assert logins.bearer(f"Bearer {token}").name == "ana"
    assert len(token) >= 43


def test_a_challenge_serves_once(logins):
    challenge = logins.challenge(ANA.key.line())
    signed = ANA.sign_armored(login_message(SITE, challenge))
    logins.answer(challenge, signed)
    assert refused(401, logins.answer, challenge, signed).code == "used"


def test_a_challenge_expires(logins, clock):
    challenge = logins.challenge(ANA.key.line())
    signed = ANA.sign_armored(login_message(SITE, challenge))
    clock.now_s += limits.CHALLENGE_S + 1
    assert refused(401, logins.answer, challenge, signed).code == "expired"


def test_a_used_challenge_is_not_forgotten_before_it_expires(logins, clock):
    challenge = logins.challenge(ANA.key.line())
    signed = ANA.sign_armored(login_message(SITE, challenge))
    logins.answer(challenge, signed)
    clock.now_s += limits.CHALLENGE_S - 1
    log_in(logins)
    refused(401, logins.answer, challenge, signed)


def test_another_key_cannot_answer(logins):
    challenge = logins.challenge(ANA.key.line())
    refused(401, logins.answer, challenge, BEN.sign_armored(login_message(SITE, challenge)))


def test_a_signature_for_another_site_or_purpose_does_not_serve(logins):
    challenge = logins.challenge(ANA.key.line())
    for message in (login_message("other-site", challenge), challenge.encode()):
        assert refused(401, logins.answer, challenge, ANA.sign_armored(message)).code == "signature"


@pytest.mark.parametrize(
    "challenge", ["", "x", "é", "AAAA", base64.urlsafe_b64encode(b"\xff" * 40).decode()]
)
def test_invented_challenges_are_refused(logins, challenge):
    refused(401, logins.answer, challenge, ANA.sign_armored(login_message(SITE, challenge)))


def test_a_challenge_with_a_later_expiry_written_in_is_refused(logins, clock):
    raw = bytearray(base64.urlsafe_b64decode(logins.challenge(ANA.key.line())))
    raw[2] ^= 1
    forged = base64.urlsafe_b64encode(raw).decode()
    refused(401, logins.answer, forged, ANA.sign_armored(login_message(SITE, forged)))


def test_challenges_of_a_former_process_are_refused(clock, people):
    before = Logins(SITE, people.get, clock, lambda n: b"1" * n)
    after = Logins(SITE, people.get, clock, lambda n: b"2" * n)
    challenge = before.challenge(ANA.key.line())
    refused(401, after.answer, challenge, ANA.sign_armored(login_message(SITE, challenge)))


@pytest.mark.parametrize("armored", ["", "hello", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END"])
def test_no_signature_is_no_login(logins, armored):
    refused(401, logins.answer, logins.challenge(ANA.key.line()), armored)


def test_people_who_are_not_enrolled_are_told_what_to_do(logins):
    error = refused(403, logins.challenge, EVE.key.line())
    assert error.code == "not-enrolled"
    assert "floe users add" in error.right


@pytest.mark.parametrize("line", ["", "hello", "ssh-rsa AAAA", "ssh-ed25519 AAAA"])
def test_a_broken_key_is_said_so(logins, line):
    refused(400, logins.challenge, line)


def test_tokens_expire(logins, clock):
    token, _ = log_in(logins)
    clock.now_s += limits.TOKEN_S + 1
    refused(401, logins.bearer, f"Bearer {token}")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Token abc", "Bearer abc"])
def test_no_header_but_a_good_one_is_taken(logins, header):
    log_in(logins)
    refused(401, logins.bearer, header)


def test_removed_people_lose_their_tokens_and_cannot_log_in(logins, people):
    token, _ = log_in(logins, BEN)
    challenge = logins.challenge(BEN.key.line())
    del people[BEN.person.key]
    refused(401, logins.bearer, f"Bearer {token}")
    refused(403, logins.answer, challenge, BEN.sign_armored(login_message(SITE, challenge)))


def test_forget_ends_the_tokens_of_one_person_only(logins):
    ana, ben = log_in(logins, ANA)[0], log_in(logins, BEN)[0]
    logins.forget(BEN.person.key)
    assert logins.bearer(f"Bearer {ana}").name == "ana"
    refused(401, logins.bearer, f"Bearer {ben}")


def test_a_person_who_logs_in_without_end_loses_only_own_old_tokens(logins):
    ben = log_in(logins, BEN)[0]
    first = log_in(logins)[0]
    for _ in range(limits.TOKENS_PER_PERSON_MAX):
        last = log_in(logins)[0]
    refused(401, logins.bearer, f"Bearer {first}")
    assert logins.bearer(f"Bearer {last}").name == "ana"
    assert logins.bearer(f"Bearer {ben}").name == "ben"


def test_the_signature_format_of_these_tests_is_that_of_openssh(tmp_path):
    """What Signer makes, the real program accepts; without it the tests above prove little."""
    import shutil
    import subprocess

    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"ana {ANA.key.line()}\n")
    signature = tmp_path / "sig"
    signature.write_text(ANA.sign_armored(b"hello"))
    argv = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "ana", "-n", "icefloe"]
    done = subprocess.run([*argv, "-s", signature], input=b"hello", capture_output=True)
    assert done.returncode == 0, done.stderr

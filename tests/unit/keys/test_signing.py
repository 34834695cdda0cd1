"""Signatures: one purpose each, libsodium's rules."""

from __future__ import annotations

import hashlib
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import signing
from keys.signing import BadKey, BadSignature, Purpose, digest

PUBLIC, SECRET = signing.keypair(bytes(range(32)))
# RFC 8032, section 7.1, test 2.
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
ORDER = 2**252 + 27742317777372353535851937790883648493


def test_the_algorithm_is_that_of_rfc_8032() -> None:
    public, secret = signing.keypair(RFC_SEED)
    assert public == RFC_PUBLIC
    assert signing.sign_raw(secret, b"\x72") == RFC_SIGNATURE
    signing.verify_raw(RFC_PUBLIC, b"\x72", RFC_SIGNATURE)


@given(st.binary(max_size=200), st.sampled_from(Purpose))
def test_what_is_signed_verifies_for_its_purpose_alone(data: bytes, purpose: Purpose) -> None:
    signature = signing.sign(SECRET, purpose, data)
    signing.verify(PUBLIC, purpose, data, signature)
    for other in Purpose:
        if other is not purpose:
            with pytest.raises(BadSignature):
                signing.verify(PUBLIC, other, data, signature)


def test_no_prefix_is_the_start_of_another() -> None:
    for one, other in combinations(Purpose, 2):
        assert not one.value.startswith(other.value)
        assert not other.value.startswith(one.value)
    assert all(purpose.value.endswith(b"\0") for purpose in Purpose)


def test_a_digest_is_blake2b_of_prefix_and_data() -> None:
    expected = hashlib.blake2b(b"icefloe entry 1\0" + b"data", digest_size=32).digest()
    assert digest(Purpose.ENTRY, b"data") == expected


@given(st.integers(0, 511))
def test_a_flipped_bit_is_no_signature(bit: int) -> None:
    signature = bytearray(signing.sign(SECRET, Purpose.ENTRY, b"data"))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature):
        signing.verify(PUBLIC, Purpose.ENTRY, b"data", bytes(signature))


def test_a_second_form_of_a_signature_is_refused() -> None:
    signature = signing.sign_raw(SECRET, b"data")
    shifted = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(BadSignature):
        signing.verify_raw(PUBLIC, b"data", signature[:32] + shifted.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_lengths_are_checked(size: int) -> None:
    with pytest.raises(BadSignature):
        signing.verify_raw(bytes(size), b"", bytes(64))
    with pytest.raises(BadSignature):
        signing.verify_raw(PUBLIC, b"", bytes(size + 32))
    with pytest.raises(BadKey):
        signing.check_key(bytes(size))


# The neutral element, two points of small order, and a y that is no point of the curve.
NO_KEYS = [
    (1).to_bytes(32, "little"),
    (0).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    (2).to_bytes(32, "little"),
]


@pytest.mark.parametrize("key", NO_KEYS)
def test_keys_for_which_anything_verifies_are_refused(key: bytes) -> None:
    with pytest.raises(BadKey):
        signing.check_key(key)
    # With the neutral element as key, R = S * B fits every message.
    with pytest.raises(BadSignature):
        signing.verify_raw(key, b"anything", (1).to_bytes(32, "little") + bytes(32))

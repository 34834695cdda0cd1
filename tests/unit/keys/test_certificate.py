"""Certificates: the site's binds its key, the API's is pinned."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given
from hypothesis import strategies as st

from keys.certificate import (
    BadCertificate,
    create_api_certificate,
    fingerprint,
    load_api_certificate,
    site_certificate,
    site_of,
    site_private_key,
)
from keys.identity import KeyFileError, SiteKey

KEY = SiteKey(bytes(range(32)))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def test_a_site_is_read_from_its_certificate() -> None:
    certificate = site_certificate(KEY)
    assert site_of(certificate) == site_of(der(certificate)) == KEY.site
    certificate.verify_directly_issued_by(certificate)


def test_a_site_has_one_certificate() -> None:
    assert der(site_certificate(KEY)) == der(site_certificate(KEY))
    assert der(site_certificate(KEY)) != der(site_certificate(SiteKey(bytes(32))))


def test_tls_takes_the_site_certificate(tmp_path: Path) -> None:
    private = site_private_key(KEY).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = tmp_path / "pem"
    pem.write_bytes(private + site_certificate(KEY).public_bytes(serialization.Encoding.PEM))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pem)


def test_the_fingerprint_is_sha256_of_the_der() -> None:
    certificate = site_certificate(KEY)
    assert fingerprint(certificate) == hashlib.sha256(der(certificate)).hexdigest()
    assert fingerprint(der(certificate)) == fingerprint(certificate)


def test_a_certificate_with_another_kind_of_key_names_no_site(tmp_path: Path) -> None:
    api = create_api_certificate(tmp_path / "api.pem")
    with pytest.raises(BadCertificate, match="Ed25519"):
        site_of(x509.load_pem_x509_certificate(api.certificate_pem))


@given(st.binary(max_size=300))
def test_noise_is_no_certificate(noise: bytes) -> None:
    with pytest.raises(BadCertificate):
        site_of(noise)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@example(208, 1)  # an algorithm that its key does not have
@given(st.integers(0, 250), st.integers(1, 255))
def test_a_damaged_certificate_is_bad_or_another(at: int, change: int) -> None:
    damaged = bytearray(der(site_certificate(KEY)))
    damaged[at] ^= change
    try:
        site_of(bytes(damaged))
    except BadCertificate:
        return
    assert fingerprint(bytes(damaged)) != fingerprint(site_certificate(KEY))


def test_a_huge_certificate_is_refused_by_its_size() -> None:
    with pytest.raises(BadCertificate, match="at most"):
        site_of(bytes(20_000))


def test_the_api_certificate_is_p256_in_a_file_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "api.pem"
    created = create_api_certificate(path, ["node.example.org", "192.0.2.7", "localhost"])
    assert created == load_api_certificate(path)
    assert path.stat().st_mode & 0o777 == 0o600
    certificate = x509.load_pem_x509_certificate(created.certificate_pem)
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    assert created.fingerprint == fingerprint(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "node.example.org"]
    assert "192.0.2.7" in map(str, names.get_values_for_type(x509.IPAddress))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)


def test_an_existing_certificate_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.pem"
    first = create_api_certificate(path)
    with pytest.raises(KeyFileError):
        create_api_certificate(path)
    assert load_api_certificate(path) == first


def test_a_site_may_put_its_own_certificate_with_a_chain(tmp_path: Path) -> None:
    ours = create_api_certificate(tmp_path / "one.pem")
    chain = create_api_certificate(tmp_path / "two.pem").certificate_pem
    path = tmp_path / "own.pem"
    path.touch(0o600)
    path.write_bytes(ours.certificate_pem + chain + ours.key_pem)
    assert load_api_certificate(path).fingerprint == ours.fingerprint
    assert load_api_certificate(path).certificate_pem == ours.certificate_pem + chain


def test_a_key_of_another_certificate_is_noticed(tmp_path: Path) -> None:
    one, two = (create_api_certificate(tmp_path / name) for name in ("one.pem", "two.pem"))
    path = tmp_path / "mixed.pem"
    path.touch(0o600)
    path.write_bytes(one.certificate_pem + two.key_pem)
    with pytest.raises(KeyFileError, match="not the first certificate's"):
        load_api_certificate(path)


@pytest.mark.parametrize("content", [b"", b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "api.pem"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"api\.pem"):
        load_api_certificate(path)


def test_an_encrypted_key_is_refused_not_asked_for(tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    path = tmp_path / "api.pem"
    path.touch(0o600)
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(KeyFileError):
        load_api_certificate(path)

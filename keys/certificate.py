"""Certificates: the site's, for links, made from the site key; and the API's, to be pinned.

A link checks only that the peer's public key is a member's, and a client of the API only that
the certificate's fingerprint is the one it knows. Names and dates are for programs that insist.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from keys.identity import KeyFileError, SiteKey, read_secret_file, show, write_secret_file

CERTIFICATE_BYTES_MAX: Final = 16_384
API_NAMES_MAX: Final = 32

# What `cryptography` raises for bytes that are no certificate, or an unusual one.
_BROKEN: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
_PEM_BYTES_MAX: Final = 262_144  # a site's own certificate may bring its chain
# No certificate of ours may end: the first date lies before the program, the second is the one
# that RFC 5280 (4.1.2.5) gives to certificates without an end.
_NOT_BEFORE: Final = datetime.datetime(2020, 1, 1)
_NOT_AFTER: Final = datetime.datetime(9999, 12, 31, 23, 59, 59)


class BadCertificate(Exception):
    """A certificate that cannot be read, or is not of the kind that was asked for."""


@dataclass(frozen=True, slots=True)
class ApiCertificate:
    """The HTTP API's certificate (with its chain, if any) and private key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes
    fingerprint: str  # SHA-256 of the first certificate's DER, in hex


def site_certificate(key: SiteKey) -> x509.Certificate:
    """The self-signed certificate of a site key; the same bytes each time."""
    private = site_private_key(key)
    name = _name(f"icefloe {show(key.site)}")
    return _builder(name, private.public_key(), serial=1).sign(private, None)


def site_private_key(key: SiteKey) -> ed25519.Ed25519PrivateKey:
    """The site key in the form that TLS takes."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(key.seed)


def site_of(certificate: x509.Certificate | bytes) -> bytes:
    """The 32 bytes of the Ed25519 key in a certificate (object or DER).

    That the peer holds the key is for TLS to prove. Raises BadCertificate.
    """
    try:
        public = _parsed(certificate).public_key()
    except _BROKEN as error:
        raise BadCertificate(f"a certificate whose key cannot be read: {error}") from None
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise BadCertificate("a site's certificate carries an Ed25519 key")
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def fingerprint(certificate: x509.Certificate | bytes) -> str:
    """SHA-256 of a certificate's DER, 64 hex digits; what the CLI and pilots pin."""
    return _parsed(certificate).fingerprint(hashes.SHA256()).hex()


def create_api_certificate(path: Path, names: Sequence[str] = ()) -> ApiCertificate:
    """Make a P-256 key and its certificate in one new PEM file (0600).

    names: host names and addresses beside localhost, at most API_NAMES_MAX.
    Raises KeyFileError when the file exists or cannot be written.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name("icefloe API"), private.public_key(), x509.random_serial_number())
    known = dict.fromkeys(["localhost", "127.0.0.1", "::1", *names])
    alternatives = [_alternative(name) for name in list(known)[: API_NAMES_MAX + 3]]
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(private, hashes.SHA256())
    key_pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_secret_file(path, key_pem + certificate.public_bytes(serialization.Encoding.PEM))
    return load_api_certificate(path)


def load_api_certificate(path: Path) -> ApiCertificate:
    """Read the API's PEM file: a private key and one certificate or more, the API's first.

    Raises KeyFileError when it is missing, damaged, or its key and certificate do not fit.
    """
    content = read_secret_file(path, _PEM_BYTES_MAX)
    try:
        private = serialization.load_pem_private_key(content, password=None)
        certificates = x509.load_pem_x509_certificates(content)
        public = certificates[0].public_key()
    except _BROKEN as error:
        raise KeyFileError(f"{path} is no certificate with its key in PEM: {error}") from None
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*spki) != public.public_bytes(*spki):
        raise KeyFileError(f"{path}: the private key is not the first certificate's")
    key_pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    return ApiCertificate(pem, key_pem, fingerprint(certificates[0]))


def _parsed(certificate: x509.Certificate | bytes) -> x509.Certificate:
    if isinstance(certificate, x509.Certificate):
        return certificate
    if len(certificate) > CERTIFICATE_BYTES_MAX:
        raise BadCertificate(f"a certificate has at most {CERTIFICATE_BYTES_MAX} bytes")
    try:
        return x509.load_der_x509_certificate(certificate)
    except _BROKEN as error:
        raise BadCertificate(f"not a certificate: {error}") from None


def _builder(
    name: x509.Name,
    public: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey,
    serial: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

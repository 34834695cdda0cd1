"""Keys, signatures, certificates and addresses, as people and TLS bring them."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization

from federation.address import BadAddress, split_address
from keys import identity, sshsig
from keys.certificate import BadCertificate, site_certificate, site_of
from keys.signing import BadKey, BadSignature
from tests.fuzz.forms import TEXT
from tests.fuzz.target import Target
from tests.unit.federation.builders import KEY
from tests.unit.node.http.people import ANA

MESSAGE = b"what ana signs"
ADDRESSES = ("desy.example.org:7421", "[2001:db8::1]:7421", "192.0.2.7:1", "a.b-c.:65535")


def _text(data: bytes) -> str:
    """What a terminal, a file or a JSON value would hand on."""
    return data.decode("utf-8", "replace")


def _address(found: tuple[str, int]) -> bytes:
    host, port = found
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


TARGETS = (
    Target(
        "ssh-signature",
        lambda data: sshsig.verify(MESSAGE, data),
        (BadSignature,),
        lambda: {"good": ANA.sign(MESSAGE)},
    ),
    Target(
        "ssh-armor",
        lambda data: sshsig.dearmor(_text(data)),
        (BadSignature,),
        lambda: {"good": ANA.sign_armored(MESSAGE).encode()},
        TEXT,
        lambda blob: sshsig.armor(blob).encode(),
        canonical=lambda data: False,
    ),
    Target(
        "ssh-key",
        lambda data: sshsig.PublicKey.parse(_text(data)),
        (BadKey,),
        lambda: {"good": ANA.key.line().encode()},
        TEXT,
        lambda key: key.line().encode(),
        canonical=lambda data: False,
    ),
    Target(
        "site-key",
        lambda data: identity.parse(_text(data)),
        (BadKey,),
        lambda: {"good": identity.show(KEY.site).encode()},
        TEXT,
        lambda site: identity.show(site).encode(),
        canonical=lambda data: False,
    ),
    Target(
        "certificate",
        site_of,
        (BadCertificate,),
        lambda: {"site": site_certificate(KEY).public_bytes(serialization.Encoding.DER)},
    ),
    Target(
        "address",
        lambda data: split_address(_text(data)),
        (BadAddress,),
        lambda: {f"address {n}": text.encode() for n, text in enumerate(ADDRESSES)},
        TEXT,
        _address,
        canonical=lambda data: False,
    ),
)

"""Documents that people sign: who signed, and whether that is the one who asks."""

from __future__ import annotations

from typing import Protocol

from keys.signing import BadSignature
from keys.sshsig import PublicKey, verify
from node.services.refusal import Refusal


class Asking(Protocol):
    @property
    def key(self) -> bytes: ...
    @property
    def name(self) -> str: ...


def signer_of(document: bytes, signature: bytes, asking: Asking) -> bytes:
    """The key that signed `document`, which must be the asking person's.

    Whoever holds a token of ana's can send nothing in the name of ben, and nothing in ana's
    without her key. Raises Refusal.
    """
    try:
        signer = verify(document, signature)
    except BadSignature as error:
        raise Refusal(
            "signature", f"the signature does not hold: {error}", "sign the document as it is sent"
        ) from None
    if signer.raw != asking.key:
        raise Refusal(
            "denied",
            f"the document is signed by {signer.fingerprint()}, "
            f"but {asking.name} ({PublicKey(asking.key).fingerprint()}) sent it",
            "send what you signed yourself",
        )
    return signer.raw

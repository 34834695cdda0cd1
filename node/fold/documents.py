"""Signed documents of the log: who signed them, and what they say. The fold's edge check."""

from __future__ import annotations

from collections.abc import Callable

from federation.records import Command, Dataset
from keys.signing import BadSignature
from keys.sshsig import verify
from node.fold.orders import Order
from node.fold.people import CheckSignature
from node.fold.shape import Refusal
from node.model.dataset import DatasetSpec
from node.model.problems import Invalid
from node.model.validate import unpack_document

WHY_CHARS_MAX = 1000
Signed = tuple[bytes, bytes, bytes]  # document as it came, signature, key


def signer(document: bytes, signature: bytes) -> bytes:
    """The key that signed. Raises BadSignature."""
    return verify(document, signature).raw


class Documents:
    """Reads what people signed; everything that is refused here is refused by every node alike."""

    def __init__(
        self,
        read_submission: Callable[[bytes], DatasetSpec],
        read_command: Callable[[bytes], Order],
        check_signature: CheckSignature,
    ) -> None:
        self._read_submission = read_submission
        self._read_command = read_command
        self._check = check_signature
        self._last: tuple[Signed, DatasetSpec] | None = None

    def dataset(self, record: Dataset) -> DatasetSpec:
        """Check a submission whole. Raises Refusal."""
        signed = (record.doc, record.signature, record.key)
        last = self._last
        if last is not None and last[0] == signed:
            return last[1]  # it stands in its leader's feed, and in the log that this is
        spec = self._checked(record)
        self._last = signed, spec
        return spec

    def _checked(self, record: Dataset) -> DatasetSpec:
        try:
            document = unpack_document(record.doc)
            self._check_signer(document, record.signature, record.key)
            return self._read_submission(document)
        except Invalid as error:
            raise Refusal(f"bad document: {error}"[:WHY_CHARS_MAX]) from None

    def order(self, record: Command) -> Order:
        """Check an order whole. Raises Refusal."""
        self._check_signer(record.doc, record.signature, record.key)
        return self.read_order(record)

    def read_order(self, record: Command) -> Order:
        """What an order says, whoever signed it. Raises Refusal."""
        try:
            return self._read_command(record.doc)
        except Invalid as error:
            raise Refusal(f"bad order: {error}"[:WHY_CHARS_MAX]) from None

    def signer(self, document: bytes, signature: bytes) -> bytes:
        """The key that signed. Raises Refusal."""
        try:
            return self._check(document, signature)
        except BadSignature as error:
            raise Refusal(f"false signature: {error}") from None

    def _check_signer(self, document: bytes, signature: bytes, key: bytes) -> None:
        if self.signer(document, signature) != key:
            raise Refusal("signed by another key than it says")

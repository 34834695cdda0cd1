"""The one way in which a service says no."""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "bad-request",  # the request itself makes no sense
    "invalid",  # a description with problems
    "signature",  # signed by nobody, or not what was signed
    "denied",
    "not-found",
    "conflict",
    "replayed",
    "missing-blobs",
    "too-large",
    "disk-full",
    "busy",
    "unavailable",
]


class Refusal(Exception):
    """A refusal that people read: code for programs, sentence, and what would be right.

    fields: more members of the error object, such as "problems".
    """

    def __init__(self, code: Code, message: str, right: str = "", **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.right = right
        self.fields = fields

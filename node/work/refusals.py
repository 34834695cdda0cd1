"""What a pilot is told when the node does not do what it asked."""

from __future__ import annotations


class Refusal(Exception):
    """status: HTTP; code: for the pilot; right: what would have been right."""

    def __init__(self, status: int, message: str, right: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.right = right
        self.code = code

"""Bounds of the HTTP edge, their units and the reason for each number."""

from __future__ import annotations

HEADER_BYTES_MAX = 16 * 1024  # request line and headers; a token and a range need 300 bytes
HEADER_COUNT_MAX = 64
BODY_BYTES_MAX = 4 * 1024 * 1024  # JSON bodies: a signed document is <= 2 MiB, and base64 adds 4/3
BATCH_BYTES_MAX = 24 * 1024 * 1024  # a pilot's batch of small blobs: 16 MiB and its header
BLOB_BYTES_MAX = 1 << 40  # one file; the blob store's quota decides below that
BODY_MEMORY_BYTES_MAX = 256 * 1024  # larger bodies wait in a file, not in memory
STRANGER_BODY_BYTES_MAX = 64 * 1024  # without a token nobody makes the node hold more than this

JSON_DEPTH_MAX = 64  # documents nest 20 deep
JSON_DIGITS_MAX = 4300  # Python's own bound for int("...")

HEAD_S_MAX = 10.0  # from connecting, or the first byte of a request, to the end of its headers
BODY_S_MIN = 15.0  # time for any body
BODY_BYTES_PER_S_MIN = 32 * 1024  # slower senders of large bodies are cut off
IDLE_S_MAX = 120.0  # keep-alive connections without a request; pilots ask every 30 s
STALL_S_MAX = 60.0  # a reader that takes nothing of its reply for so long is cut off
CLOSE_S_MAX = 5.0  # to take the last reply before the connection is cut
DRAIN_BYTES_MAX = (
    4 * 1024 * 1024
)  # of a refused body, read so that the reply is not lost to a reset
SWEEP_S = 1.0  # how often deadlines are looked at

CONNECTIONS_MAX = 4096
CONNECTIONS_PER_ADDRESS_MAX = 1024  # a worker host with 200 pilots keeps 400

CHALLENGE_S = 60.0  # to sign a login challenge; typing a passphrase included
TOKEN_S = 12 * 3600.0  # a login
TOKENS_MAX = 10_000  # all logins; the oldest goes first
TOKENS_PER_PERSON_MAX = 64
ANSWERS_REMEMBERED_MAX = 10_000  # used challenges within CHALLENGE_S

WAIT_S_MAX = 60.0  # long polls
PAGE_MAX = 10_000  # rows of one listing
PAGE = 100
DIGESTS_MAX = 10_000  # of one blobs/missing request

DOCUMENT_BYTES_MAX = 2 * 1024 * 1024  # a signed document before compression
SIGNATURE_BYTES_MAX = 4096

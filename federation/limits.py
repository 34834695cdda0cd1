"""Every bound of what sites write and send, with its unit and its reason."""

from __future__ import annotations

from typing import Final

# Entries. A body is small enough to be resent whole and large enough that one signature and one
# commit carry thousands of units.
ENTRY_VERSION: Final = 1
ENTRY_BODY_BYTES_MAX: Final = 64 * 1024
ENTRY_RECORDS_MAX: Final = 4096
RECORD_BYTES_MAX: Final = ENTRY_BODY_BYTES_MAX - 5  # an array header of up to 5 bytes is before it
HEADER_BYTES_MAX: Final = 192  # all ten fields at their largest take 143
GENERATION_MIN: Final = 1
GENERATION_MAX: Final = 2**32 - 1
SEQ_MAX: Final = 2**53 - 1  # exact in a JSON number, and in SQLite

# The clock: 47 bits of milliseconds and 16 of counter, so that it stays a positive int64.
HLC_MAX: Final = 2**63 - 1
HLC_AHEAD_MS_MAX: Final = 5 * 60 * 1000  # remote times further ahead are kept but not merged

# Values nested deeper than this are no message of ours.
DEPTH_MAX: Final = 16

# Text and lists within records.
NAME_BYTES_MAX: Final = 128
VERSION_BYTES_MAX: Final = 64
HOST_BYTES_MAX: Final = 255  # DNS
ERROR_BYTES_MAX: Final = 64
TAIL_BYTES_MAX: Final = 512
WHY_BYTES_MAX: Final = 256
GROUPS_MAX: Final = 64
ROLES_MAX: Final = 16

# Signed documents. A dataset is at most 48 KiB compressed: with key and signature it fits an entry.
DATASET_DOC_BYTES_MAX: Final = 48 * 1024  # as stored, compressed
COMMAND_DOC_BYTES_MAX: Final = 60 * 1024  # long lists of jobs to cancel or retry
PERSON_DOC_BYTES_MAX: Final = 16 * 1024
FORCE_DOC_BYTES_MAX: Final = 4 * 1024
MEMBER_DOC_BYTES_MAX: Final = 16 * 1024
INVITE_DOC_BYTES_MAX: Final = 4 * 1024  # eight addresses and some hex digits
SECRET_BYTES: Final = 32  # of an invitation
PROOF_BYTES_MAX: Final = 64  # room for other proofs than that secret
JOIN_BYTES_MAX: Final = 16 * 1024  # what a stranger may send, and what it is answered
SIGNATURE_BYTES_MAX: Final = 1024  # a raw sshsig blob; an Ed25519 one has about 180

# Shards.
COUNCIL_MAX: Final = 15
NONCE_BYTES: Final = 16
TERM_MAX: Final = 2**53 - 1

# Members. A policy lists all of them by key, 67 bytes each: with its signature it fits an entry.
MEMBERS_MAX: Final = 512
POLICY_DOC_BYTES_MAX: Final = 48 * 1024
ADMISSIONS_MAX: Final = 16  # that a policy may ask for
THROUGH_MAX: Final = 64  # generations of a revoked site whose earlier acts still count
ADDRESSES_MAX: Final = 8  # of one site
ADDRESS_BYTES_MAX: Final = 300  # a DNS name, a colon, a port

# Units.
JOBS_MAX: Final = 2**32  # job indices lie below it, so that a column of them is 32 bits wide
TASKS_MAX: Final = 64
RANGES_MAX: Final = 8192  # numbers in one record's ranges: two a range; more go in pieces

# Results.
RESULTS_ROWS_MAX: Final = 8192
HOSTS_MAX: Final = 1024  # in one record
ERRORS_MAX: Final = 256  # error classes in one record
MEASURE_MAX: Final = 2**40 - 1  # ms: 34 years of CPU; KiB: a pebibyte. Sums of 2**22 fit int64
WALL_CLOCK_MS_MAX: Final = 2**47 - 1
FACTOR_MAX: Final = 10**9  # thousandths
EXIT_MIN: Final = -127  # minus the signal
EXIT_MAX: Final = 255

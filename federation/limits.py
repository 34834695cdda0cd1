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
# In one election a term rises by no more, so that members that lie do not use all terms up: more
# than honest ones waste in years of elections that fail, and 2**33 times this is TERM_MAX.
TERM_STEP_MAX: Final = 2**20

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

# Shapes: what units ask for and workers have, as sites tell each other.
CORES_MAX: Final = 2**16 - 1  # also of GPUs
SHAPE_MIB_MAX: Final = 2**32 - 1  # 4 PiB of memory or disk
SHAPE_TIME_S_MAX: Final = 2**32 - 1
UNITS_MAX: Final = 2**40 - 1  # more than the fold takes, and sums of them fit int64
WORKER_KINDS_MAX: Final = 8  # of one site; more are told by those with most cores

# Claims: one request per leader and shape. All fields at their largest take under 2 KiB.
CLAIM_BYTES_MAX: Final = 4 * 1024
PER_DAY_MAX: Final = 2**53 - 1  # units
HELD_MAX: Final = 32  # datasets of which a claim says how much is held
ANSWER_ENTRIES_MAX: Final = 16  # that hold the grants of one answer
RETRY_S_MAX: Final = 3600

# Beacons: about 300 bytes in the usual case. One is passed on by every site.
BEACON_BYTES_MAX: Final = 2 * 1024
WANTS_MAX: Final = 8  # datasets and shapes, the neediest first
RUNNING_MAX: Final = 8  # datasets, the busiest first
BATCH_KINDS_MAX: Final = 8  # of batch systems
BATCH_KIND_BYTES_MAX: Final = 16
BANS_MAX: Final = 4  # workers, those that wait longest; more are counted only
BAN_HOST_BYTES_MAX: Final = 64
BAN_WHY_BYTES_MAX: Final = 88
BEACON_FIELDS_MAX: Final = 32  # those of later versions among them
LABEL_BYTES: Final = 8  # the beginning of an id, where a mistake costs one needless question
COUNTER_MAX: Final = 2**53 - 1

# Results.
RESULTS_ROWS_MAX: Final = 8192
HOSTS_MAX: Final = 1024  # in one record
ERRORS_MAX: Final = 256  # error classes in one record
MEASURE_MAX: Final = 2**40 - 1  # ms: 34 years of CPU; KiB: a pebibyte. Sums of 2**22 fit int64
WALL_CLOCK_MS_MAX: Final = 2**47 - 1
FACTOR_MAX: Final = 10**9  # thousandths
EXIT_MIN: Final = -127  # minus the signal
EXIT_MAX: Final = 255

# Links. A frame holds one message; the largest entry takes 64 KiB and 300 bytes.
PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1
FRAME_BYTES_MAX: Final = 128 * 1024
HELLO_BYTES_MAX: Final = 4096  # of the first frame, from whom nothing is known yet
STRANGER_BYTES_MAX: Final = 64 * 1024  # of all that a stranger may send
FEATURES_MAX: Final = 32
FEATURE_BYTES_MAX: Final = 32
BOOT_MAX: Final = 2**53 - 1
TOKEN_MAX: Final = 2**32 - 1  # numbers of pings, requests and tunnels
HELLO_S_MAX: Final = 20.0  # from connecting to the peer's hello
PING_S: Final = 30.0  # of silence, then a ping
SILENCE_S_MAX: Final = 75.0  # of silence, pings included, then the link is given up
STALL_S_MAX: Final = 120.0  # in which a peer took nothing of what waits for it
SEND_BYTES: Final = 32 * 1024  # handed to the transport at once: what waits behind is late by it

# Sync. The windows are what may be on its way to a peer that has not stored it yet.
WINDOW_BYTES: Final = (256 * 1024, 1024 * 1024)  # by lane
# Credits below this wait: the sender can do without, and there are fewer messages.
CREDIT_BYTES_MIN: Final = tuple(size // 8 for size in WINDOW_BYTES)
ENTRIES_BYTES: Final = 64 * 1024  # gathered into one message; one large entry may exceed it
ENTRIES_MAX: Final = 512  # in one message
READ_ENTRIES_MAX: Final = 64  # read from the store at once
PREFIX_BYTES: Final = 8  # of an entry's id in a vector, and of a site in a list of neighbours
VECTOR_FEEDS_MAX: Final = 1024  # in one message; a vector may take several
WANT_FEEDS_MAX: Final = 256  # in one message
WANTED_MAX: Final = 2048  # feeds that a peer may be asking for at once
AHEAD_FEEDS_MAX: Final = 4096  # feeds remembered of one peer, in which it is ahead
WANT_ENTRIES: Final = (512, 128)  # asked for at once, by lane; then the next, maybe elsewhere
COMPARE_S: Final = 60.0  # between two comparisons of what both ends of a link hold
OFFER_S: Final = 0.05  # in which offers to one peer gather
PATIENCE_S: Final = 0.4  # for an entry that its author is pushing to this site anyway
FETCH_STALL_S: Final = 10.0  # without an entry, then another peer is asked
INGEST_RETRY_S: Final = 5.0  # after a store that could not take entries in
EMPTY_OFFERS_MAX: Final = 64  # of one peer: offered, then not given
SHOWN_MAX: Final = 64  # headers shown to, or asked of, one peer at once
FORKS_MAX: Final = 1024  # proofs kept in memory

# Gossip.
NEIGHBOURS_MAX: Final = 1024
PREFIXES_MAX: Final = 4096  # sites ever named by neighbours; others count as nobody's
NEIGHBOURS_S: Final = 1.0  # in which changes of links gather
OFFERERS: Final = 2  # of the sites that have links with both, so many offer an entry or a flood
FLOOD_BYTES_MAX: Final = 4096
FLOOD_TOPIC_BYTES_MAX: Final = 32
FLOOD_TOPICS_MAX: Final = 256  # of one origin
FLOOD_OLD_S: Final = 90.0  # what came so long ago is news to nobody who links now
FLOOD_S: Final = 1.0  # between two floods of one kind and topic
FLOOD_BURST: Final = 64  # of one origin
FLOODS_PER_S: Final = 8.0  # of one origin, lasting
INTRODUCE_S: Final = 2.0  # after a link came up, then the floods of others are passed on

# Requests.
REQUEST_KIND_BYTES_MAX: Final = 32
REQUEST_BYTES_MAX: Final = 1024 * 1024  # of a request's body, and of its answer's
REQUEST_CHUNK_BYTES: Final = 16 * 1024
REQUEST_S_MAX: Final = 60.0
REQUESTS_MAX: Final = 32  # under way on one link, in each direction
REQUESTS_BYTES_MAX: Final = 32 * 1024 * 1024  # gathered from all links at once
REFUSAL_BYTES_MAX: Final = 512
ENTRY_SITES_MAX: Final = 8  # asked for one entry before it counts as not to be had

# Two links between two sites: dialled at once by both, or a new one while the old is dying.
YOUNG_S: Final = 10.0  # an older link gives way to a new one, a younger one stays
FRAME_ROOM: Final = 72 * 1024  # of a window must be free, so that whatever comes next fits

# Tunnels: what goes through a relay, which sees only TLS.
TUNNEL_CHUNK_BYTES: Final = 16 * 1024
TUNNEL_WINDOW_BYTES: Final = 128 * 1024  # on the way in one direction, so at most in the relay
TUNNELS_MAX: Final = 32  # opened by one end of a link
TUNNEL_IDLE_S: Final = 120.0  # without a byte, then a relay forgets it
TUNNEL_WAIT_S: Final = 15.0  # for a link that the relay has asked for

# Sockets.
HANDSHAKE_S_MAX: Final = 20.0  # from connecting to the end of TLS's handshake
CLOSE_S_MAX: Final = 5.0  # for the last bytes of a link to go out, then it is cut
UNSENT_BYTES_MAX: Final = 64 * 1024  # in the kernel: what waits there is late by it
ARRIVALS_MAX: Final = 64  # connections that have not shown their key yet
STRANGERS_MAX: Final = 8  # links with sites that are no members, at once
STRANGER_S_MAX: Final = 60.0
DIALS_MAX: Final = 32  # at once
DIAL_S_MAX: Final = 10.0  # to connect to one address
REDIAL_S_MIN: Final = 0.5
REDIAL_S_MAX: Final = 300.0
REDIAL_LOST_S: Final = 2.0  # spread of the first dials after links were lost, so that none storms
DIAL_TURN_S: Final = 3.0  # head start of the site with the smaller key, where both can dial
SETTLED_S: Final = 60.0  # a link that held so long was no failure
RELAYS_TRIED_MAX: Final = 3  # for one request
TUNNEL_S_MAX: Final = 10.0  # to a session through a relay
IDLE_S: Final = 60.0  # without a request, then a bulk or relayed link is closed
BULK_S_MAX: Final = 15.0  # to a bulk link, dialled by either end

"""What the pilot says: to its node over HTTPS, and to its own runners over a socket pair.

The node's side of the pilot API answers these shapes (all POST, JSON, `Authorization: Bearer
SESSION` but for announce; errors are `{"error": {"code", "message"}}`):

`/pilot/v1/announce`  {"token", "tag", "host", "pid", "version", "resources": {"cpu", "gpu",
    "memory_bytes", "disk_bytes", "time_left_s"}, "isolation": "full" | "group",
    "system": "slurm" | "htcondor" | "pbs" | "sge" | "", "job": what the system calls this job,
    "session": old | null, "secret": what the session may be called, "holding": [[lease,
    [job, ...]], ...]}
    -> {"session", "heartbeat_s", "poll_s", "site"}
`/pilot/v1/poll`  {"free": {...as resources}, "idle_slots", "queued", "units_max", "seen": newest
    lease that arrived; the node tells again of those after it}
    -> {"work": [{"lease", "spec", "jobs": [lo, hi, ...], "attempts"?, "needs"?, "inputs"?, "read"?,
    "rows"?}], "specs": {id: task}, "orders": [{"order": "stop", "lease", "jobs", "why"} |
    {"order": "tail", "lease", "job", "offset"} | {"order": "drain"} | {"order": "exit"}]}
`/pilot/v1/report`  {"batch", "results": [columns], "running": [[lease, job, started_ms]],
    "returned": [[lease, [job, ...]]], "logs"?: [[lease, job, offset, base64]], "leaving"?: true,
    "why"?}
    -> {"acked", "orders"}
    `read` says by job what stands for all its inputs: the result's `inputs` repeats it.
    `logs` answers `tail` orders: what running units have printed from that byte on.
    `leaving` says that the session ends with this report: whatever it still holds is free. `why`
    is for people.
`/pilot/v1/blobs`, `/pilot/v1/blob/<hex>`: see `transfer.py`.
"""

import json
import re
import struct
from typing import Any, Dict, Iterable, List, Sequence, Tuple

VERSION = "0.1.0"

# Outcomes of an attempt, as on the wire of results records.
SUCCESS, PAYLOAD, RESOURCES, INFRASTRUCTURE, STOPPED = range(5)

# Error classes, by the outcome that they stand for.
OUTCOME_OF = {
    "": SUCCESS,
    "exit": PAYLOAD,  # a module's exit status was not among its ok ones
    "exit-retry": INFRASTRUCTURE,  # ... but among those that the user calls nobody's fault
    "exit-final": PAYLOAD,  # ... and is among those that no retry will mend
    "signal": PAYLOAD,  # a module died of a signal that the pilot did not send
    "output": PAYLOAD,  # a declared output is missing, too many, or outside the scratch folder
    "input": PAYLOAD,  # an input that is not there
    "input-fetch": INFRASTRUCTURE,  # an input that could not be fetched just now
    "output-store": INFRASTRUCTURE,  # an output that could not be stored just now
    "spawn": PAYLOAD,  # no such program, or not executable
    "expand": PAYLOAD,  # a value that cannot be expanded for this job
    "log": PAYLOAD,  # printed without end
    "memory": RESOURCES,
    "disk": RESOURCES,
    "time": RESOURCES,
    "worker": INFRASTRUCTURE,  # the worker could not start or hold the unit
    "runner-lost": INFRASTRUCTURE,  # the process that watched the unit died
    "evicted": INFRASTRUCTURE,  # the batch system ended the pilot
    "cancelled": STOPPED,
}

MESSAGE_BYTES_MAX = 64 << 20  # one message between pilot and runner
TAIL_BYTES_MAX = 512  # text of a failure that travels in the record itself

# A runner's row: what one attempt came to. `log`, `outputs`, `inputs` are hex digests or "".
ROW = (
    "job", "outcome", "start_ms", "wall_ms", "cpu_ms", "memory_kib", "disk_kib", "gpu_ms",
    "exit", "error", "outputs", "inputs", "log", "tail",
)  # fmt: skip
Row = Sequence[Any]

_PLAIN_COLUMNS = ("outcome", "wall_ms", "cpu_ms", "memory_kib", "disk_kib", "gpu_ms", "exit")
_DIGEST_COLUMNS = ("outputs", "inputs", "log")
_AT = {name: place for place, name in enumerate(ROW)}


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8. Digests are taken over it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def frame(message: Any) -> bytes:
    """One message for the socket pair: length, then JSON."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return struct.pack(">I", len(body)) + body


class Deframer:
    """Cuts a byte stream back into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> List[Any]:
        """The messages that `data` completes. Raises ValueError for one beyond a bound."""
        buffer = self._buffer
        buffer += data
        messages = []
        at = 0
        while len(buffer) - at >= 4:
            (length,) = struct.unpack_from(">I", buffer, at)
            if length > MESSAGE_BYTES_MAX:
                raise ValueError("a message of %d bytes" % length)
            if len(buffer) - at - 4 < length:
                break
            try:
                messages.append(json.loads(bytes(buffer[at + 4 : at + 4 + length]).decode()))
            except RecursionError:
                raise ValueError("a message that nests without end") from None
            at += 4 + length
        del buffer[:at]
        return messages


def _column(values: Sequence[Any]) -> Any:
    """One value if all rows agree, else the list."""
    first = values[0]
    return first if values.count(first) == len(values) else list(values)


def columns(lease: int, spec: str, rows: Sequence[Row]) -> Dict[str, Any]:
    """The rows of one lease and task as the report's columns."""
    by_name = dict(zip(ROW, (list(column) for column in zip(*rows))))
    start_ms = min(by_name["start_ms"])
    errors = ["", *sorted(set(by_name["error"]) - {""})]
    message: Dict[str, Any] = {
        "lease": lease,
        "spec": spec,
        "jobs": by_name["job"],
        "start_ms": start_ms,
        "offset_ms": _column([at - start_ms for at in by_name["start_ms"]]),
        "errors": errors,
        "error": _column([errors.index(error) for error in by_name["error"]]),
        "tails": [[at, tail] for at, tail in enumerate(by_name["tail"]) if tail],
    }
    for name in _PLAIN_COLUMNS + _DIGEST_COLUMNS:
        message[name] = _column(by_name[name])
    return message


def lost_row(job: int, started_ms: int, now_ms: int, error: str, why: str) -> List[Any]:
    """The row of an attempt that nobody could watch to its end."""
    row: List[Any] = [0] * len(ROW)
    row[_AT["job"]], row[_AT["outcome"]] = job, OUTCOME_OF[error]
    row[_AT["start_ms"]], row[_AT["wall_ms"]] = started_ms, max(0, now_ms - started_ms)
    row[_AT["error"]], row[_AT["tail"]] = error, why
    for name in _DIGEST_COLUMNS:
        row[_AT[name]] = ""
    return row


def expand_ranges(flat: Sequence[int]) -> List[int]:
    """The jobs of flat half-open ranges `[lo, hi, lo, hi, ...]`."""
    jobs: List[int] = []
    for lo, hi in zip(flat[::2], flat[1::2]):
        jobs.extend(range(lo, hi))
    return jobs


_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?<=>!]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|.?)", re.S)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def harmless(data: bytes) -> str:
    """The last part of a log as short text that no terminal acts on.

    Escape sequences go, other control characters (and those that reverse the direction of
    text) become U+FFFD, at most TAIL_BYTES_MAX bytes of UTF-8 are kept.
    """
    text = _ESCAPES.sub("", data.decode("utf-8", "replace").replace("\r\n", "\n"))
    text = _CONTROL.sub("\ufffd", text).strip()
    return text.encode()[-TAIL_BYTES_MAX:].decode("utf-8", "ignore")


def group_by_lease(rows: Iterable[Tuple[int, str, Row]]) -> List[Dict[str, Any]]:
    """Rows of any leases as one columns message a (lease, spec)."""
    groups: Dict[Tuple[int, str], List[Row]] = {}
    for lease, spec, row in rows:
        groups.setdefault((lease, spec), []).append(row)
    return [columns(lease, spec, group) for (lease, spec), group in groups.items()]

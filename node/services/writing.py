"""Writing a record for somebody who waits: the journal's refusals as sentences."""

from __future__ import annotations

import time

from federation.records import Record
from node.ports import Control
from node.services.refusal import Refusal
from node.store.database import DiskFull
from node.store.writer import JournalClosed, JournalFull


def wall_clock_ms() -> int:
    """Milliseconds since the epoch, for what people see and what this node alone judges."""
    return time.time_ns() // 1_000_000


async def write(journal: Control, record: Record) -> None:
    """Write a record that somebody asked for; durable on return. Raises Refusal."""
    try:
        await journal.control(record, intake=True)
    except DiskFull as error:
        raise Refusal("disk-full", f"nothing was stored: {error}") from None
    except JournalFull as error:
        raise Refusal("busy", str(error), "try again in a moment") from None
    except JournalClosed as error:
        raise Refusal("unavailable", str(error), "try again when the node is up") from None

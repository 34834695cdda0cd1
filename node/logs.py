"""The node's log: one line an event, readable, harmless whatever others put into it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

FILE_BYTES_MAX = 10 * 1024 * 1024
FILES_MAX = 5
LINE_CHARS_MAX = 20_000

Write = Callable[[str], object]


def harmless(text: str) -> str:
    """`text` without control characters: a terminal that shows it does nothing else."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def as_line(event: Mapping[str, Any]) -> str:
    """2026-11-23 03:04:05 warn  node.site: text; a traceback follows on indented lines."""
    level = event.get("log_level")
    name = level.name if level is not None else "info"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.get("log_time", 0)))
    text = eventAsText(dict(event), includeTimestamp=False, includeSystem=False)
    text = harmless(text[:LINE_CHARS_MAX]).rstrip().replace("\n", "\n    ")
    return f"{at} {name:5} {event.get('log_namespace', '-')}: {text}\n"


def as_json(event: Mapping[str, Any]) -> str:
    """The same for programs: one JSON object a line."""
    level = event.get("log_level")
    text = eventAsText(dict(event), includeTimestamp=False, includeSystem=False)
    line = {
        "time": round(float(event.get("log_time", 0)), 3),
        "level": level.name if level is not None else "info",
        "from": str(event.get("log_namespace", "-")),
        "text": harmless(text[:LINE_CHARS_MAX]),
    }
    return json.dumps(line, ensure_ascii=False) + "\n"


@implementer(ILogObserver)
class Lines:
    """Writes each event as one line."""

    def __init__(self, write: Write, form: Callable[[Mapping[str, Any]], str] = as_line) -> None:
        self._write = write
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        # A full disk or a closed terminal must not stop the node.
        try:
            self._write(self._form(event))
        except (OSError, ValueError):
            return


def begin(write: Write, *, form: Callable[[Mapping[str, Any]], str] = as_line) -> None:
    """Send everything from `info` up to `write`, once a process."""
    wanted = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    wanted.setLogLevelForNamespace("log_legacy", LogLevel.warn)  # "Factory starting on 12345"
    observer = FilteringLogObserver(Lines(write, form), [wanted])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def to_terminal(stream: IO[str] = sys.stderr) -> Write:
    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return write


def to_file(folder: Path) -> Write:
    """log/node.log, 0600, turned over at 10 MiB, five kept."""
    file: Any = LogFile(  # type: ignore[no-untyped-call]
        "node.log",
        str(folder),
        rotateLength=FILE_BYTES_MAX,
        defaultMode=0o600,
        maxRotatedFiles=FILES_MAX,
    )

    def write(line: str) -> None:
        file.write(line)
        file.flush()

    return write

"""What PBS's qstat -f prints, as records: in JSON, and as text. Pure.

JSON of OpenPBS up to 23.06 is not always JSON: a value such as nan, .5, 1. or +5 stands there
bare, whoever's job it is. Bare words, one on a line, are read as such; if it is broken otherwise,
the same is asked for as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from schedulers import texts
from schedulers.base import SchedulerError

Record = Mapping[str, str]  # attributes; those of a group, as in Resource_List.walltime, by text
_NUMBER = r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?"
_BARE = re.compile(
    rf'^([ \t]*"(?:[^"\\]|\\.)*":[ \t]*)(?!{_NUMBER},?$)([^\s"{{\[\]}}][^\n]*?)(,?)$', re.MULTILINE
)
_HEAD = re.compile(r"(?:Job Id|Queue|Server):[ \t]*(\S+)[ \t]*")
_ATTRIBUTE = re.compile(r"(?: {4}|\t)([A-Za-z_][\w.-]*) = (.*)")
_ID = re.compile(r"\d{1,12}(?:\[\d{0,9}\])?(?:\.[\w.-]{1,255})?")


class BrokenJson(Exception):
    """It may be readable in another form."""


def from_json(text: str, what: str) -> dict[str, Record]:
    """Jobs by id. Raises BrokenJson; SchedulerError for JSON that is something else."""
    start = re.search(r"^[ \t]*\{", text, re.MULTILINE)
    if start is None:
        raise BrokenJson(f"{what}: printed no JSON: {texts.harmless(text, 80)!r}")
    document = _loads(text[start.start() :], what)
    if not isinstance(document, dict) or "pbs_server" not in document:
        raise SchedulerError(f"{what}: its JSON names no server")
    jobs = document.get("Jobs", {})  # the key is missing when there are none
    if not isinstance(jobs, dict) or not all(isinstance(each, dict) for each in jobs.values()):
        raise SchedulerError(f"{what}: its JSON has no table of jobs")
    return {
        _checked(job, what): {
            key: str(value) for key, value in record.items() if not isinstance(value, dict | list)
        }
        for job, record in jobs.items()
    }


def _loads(text: str, what: str) -> object:
    texts.few_parts(text, what)
    for mended in (False, True):  # what is good JSON already costs nothing more
        if mended:
            text = _BARE.sub(lambda m: f"{m[1]}{json.dumps(m[2])}{m[3]}", text)
        try:
            found: object = json.loads(text, strict=False, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            broken = str(error)
        else:
            return found
    raise BrokenJson(f"{what}: printed broken JSON: {broken}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table; a job that is there twice is no JSON for us. Other keys may be: Variable_List."""
    table = dict(pairs)
    if len(table) < len(pairs) and any(isinstance(value, dict) for value in table.values()):
        raise ValueError("a key is there twice")
    return table


def from_text(text: str, what: str) -> dict[str, Record]:
    """Jobs, queues or servers by name, in the form without -F.

    Long values go on in lines that begin with a tab: in the other form, of Slurm's commands, all
    attributes do. A blank line ends each. Raises SchedulerError for a text that is cut, or names
    one twice, as somebody could who has newlines in his variables.
    """
    if text and not text.endswith("\n\n"):
        raise SchedulerError(f"{what}: its output is cut")
    found: dict[str, dict[str, list[str]]] = {}
    record: dict[str, list[str]] | None = None
    last = ""
    tabs = False
    for line in text.split("\n"):
        if not line:
            record = None
        elif record is None:
            if head := _HEAD.fullmatch(line):  # all else between records are warnings
                if head[1] in found:
                    raise SchedulerError(f"{what}: {texts.harmless(head[1], 40)} is there twice")
                record, tabs, last = found.setdefault(head[1], {}), ":\t" in line, ""
        elif (line[0] != "\t" or tabs) and (match := _ATTRIBUTE.fullmatch(line)):
            last = match[1]
            record.setdefault(last, [match[2]])
        elif line[0] == "\t" and last:
            record[last].append(line[1:])
        # else a value with a newline: nobody needs the rest of it
    return {
        name: {key: "".join(parts) for key, parts in record.items()}
        for name, record in found.items()
    }


def jobs_from_text(text: str, what: str) -> dict[str, Record]:
    """As `from_text`, jobs alone."""
    return {_checked(job, what): record for job, record in from_text(text, what).items()}


def _checked(job: str, what: str) -> str:
    if not _ID.fullmatch(job):
        raise SchedulerError(f"{what}: {texts.harmless(job, 40)!r} is no job")
    return job

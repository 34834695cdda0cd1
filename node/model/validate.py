"""The node's edge: signed bytes of a submission to a DatasetSpec, or everything that is wrong.

A submission is canonical JSON: keys sorted, no spaces, UTF-8, so that the signed bytes can be
written in one way only. `description` is what the user wrote without `files` and a `foreach`
file, which stand beside it as digests, and with `matrix` as pairs, because order counts there.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from node.model import rules
from node.model.dataset import After, DatasetSpec, FileRef, Needs, TaskSpec
from node.model.description import (
    DATASET,
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    FILE_BYTES_MAX,
    FILES_MAX,
    IDENTIFIER,
    LINE,
    ROWS_MAX,
    STORED_BYTES_MAX,
    TASK_NAME,
)
from node.model.kinds import Int, Key, ListOf, MapOf, Table, Text
from node.model.paths import wrong_local
from node.model.problems import Enough, Invalid, Report, placed
from node.model.units import parse_size, parse_time

HEX32: Final = Text(32, "[0-9a-f]{32}", "is no nonce", "write 32 hex digits")
HEX64: Final = Text(64, "[0-9a-f]{64}", "is no digest", "write 64 hex digits")
_BLOB: Final = (
    Key("digest", HEX64, "", required=True),
    Key("size", Int(0, FILE_BYTES_MAX), "", required=True),
)
_FILE: Final = Table((*_BLOB, Key("mode", Int(0, 0o777), "", required=True)))
_FOREACH: Final = Table(
    (
        *_BLOB,
        Key("rows", Int(1, ROWS_MAX), "", required=True),
        Key("columns", ListOf(IDENTIFIER, 256, 1), "", required=True),
        Key("format", Text(5, "csv|jsonl", "is no format", "csv or jsonl"), "", required=True),
    )
)
_FOREIGN: Final = Table(
    (
        Key("id", HEX64, "", required=True),
        Key("jobs", Int(1, 1_000_000_000), "", required=True),
        Key("tasks", ListOf(TASK_NAME, 64, 1), "", required=True),
    )
)
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def canonical(value: Any) -> bytes:
    """The one way to write `value` as JSON. Raises ValueError for what JSON cannot hold."""
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text.encode()


def pack_document(document: bytes) -> bytes:
    """A signed document as it is stored: zlib."""
    return zlib.compress(document, 9)


def unpack_document(stored: bytes) -> bytes:
    """The inverse; raises Invalid for anything but one whole, bounded zlib stream."""
    inflate = zlib.decompressobj()
    try:
        document = inflate.decompress(stored, DOCUMENT_BYTES_MAX)
    except zlib.error:
        raise _refused("is no zlib stream", "send it as the client does") from None
    if not inflate.eof or inflate.unused_data:
        raise _refused("is cut off, too large, or followed by something", "send one document")
    return document


def depth_of(text: bytes) -> int:
    """How deep brackets stand within brackets, without parsing."""
    depth = deepest = 0
    for match in _NESTING.finditer(text):
        sign = match[0]
        if sign in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif len(sign) == 1:
            depth -= 1
    return deepest


def parse_canonical(document: bytes) -> dict[str, Any]:
    """A signed document of any kind as a table. Raises Invalid unless the bytes are canonical."""
    if len(document) > DOCUMENT_BYTES_MAX:
        raise _refused(f"{len(document):,} bytes are too many", f"at most {DOCUMENT_BYTES_MAX:,}")
    if depth_of(document) > DEPTH_MAX:
        raise _refused(f"is nested deeper than {DEPTH_MAX}", "make it flatter")
    try:
        value = json.loads(document.decode())
        again = canonical(value)
    except (ValueError, RecursionError) as error:
        raise _refused(f"is no JSON: {type(error).__name__}", "send canonical JSON") from None
    if not isinstance(value, dict):
        raise _refused("is no table", "send a JSON object")
    if again != document:
        right = "sort keys, leave spaces out, write numbers and text in the shortest way"
        raise _refused("is not canonical JSON", right)
    return value


def _refused(what: str, right: str) -> Invalid:
    report = Report()
    report.add((), what, right)
    return Invalid(placed(report.problems, {}, {}), "document")


def dataset_id(document: bytes) -> bytes:
    """The id that a signed document gives its dataset: 32 bytes."""
    from keys.signing import Purpose, digest  # loads libsodium, which reading needs not

    return digest(Purpose.DATASET, document)


def read_submission(document: bytes) -> DatasetSpec:
    """Check a signed document whole and compile it. Raises Invalid with all errors."""
    table = parse_canonical(document)
    report = Report()
    spec = None
    with suppress(Enough):
        spec = _read(document, table, report)
    if spec is None:
        names = task_names(table.get("description"))
        raise Invalid(placed(report.problems, names, {}), "document")
    return spec


def _read(document: bytes, table: dict[str, Any], report: Report) -> DatasetSpec | None:
    """None if something was reported."""
    envelope = _envelope(table, report)
    if report.problems:
        return None
    clean = DATASET.check(_as_written(envelope["description"], report), (), report)
    context = context_of(envelope, clean, report)
    outcome = rules.check(clean, context, report)
    _check_foreign(envelope, outcome, report)
    if report.problems:
        return None
    return _compiled(dataset_id(document), clean, table, outcome, context)


class _Anything:
    """The description, which is checked by itself."""

    def check(self, value: Any, path: tuple[str | int, ...], report: Report) -> Any:
        if not isinstance(value, dict):
            report.add(path, "is no table", "send the description")
        return value

    def schema(self) -> dict[str, Any]:
        return {}


_ENVELOPE: Final = Table(
    (
        Key("floe", Int(1, 1), "", required=True),
        Key("kind", Text(32, "dataset", "is another kind", '"dataset"'), "", required=True),
        Key("nonce", HEX32, "", required=True),
        Key("description", _Anything(), "", required=True),
        Key("files", MapOf(LINE, _FILE, FILES_MAX), "", required=True),
        Key("foreach", _FOREACH, ""),
        Key("foreign", MapOf(Text(255, empty=False), _FOREIGN, 64), "", required=True),
    )
)


def _envelope(table: Mapping[str, Any], report: Report) -> dict[str, Any]:
    envelope: dict[str, Any] = _ENVELOPE.check(table, (), report)
    for name in envelope.get("files", {}):
        if wrong_local(name):
            report.add(("files", name), wrong_local(name), "name a path below the scratch folder")
    return envelope


def _as_written(description: dict[str, Any], report: Report) -> dict[str, Any]:
    """The description with `matrix` as a table again, its axes in order."""
    result = dict(description)
    if "files" in result:
        report.add(("files",), "stands in the description", "put it beside it, as digests")
    matrix = result.get("matrix", [])
    pairs = isinstance(matrix, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in matrix
    )
    if not pairs or len({pair[0] for pair in matrix}) < len(matrix):
        report.add(("matrix",), "is no list of [axis, values]", "name each axis once")
        result.pop("matrix", None)
    elif matrix:
        result["matrix"] = {pair[0]: pair[1] for pair in matrix}
    return result


def context_of(
    envelope: Mapping[str, Any], description: Mapping[str, Any], report: Report
) -> rules.Context:
    """What the node knows beside the description: no rows of a file, and trials of few jobs."""
    foreign = {
        name: rules.Foreign(bytes.fromhex(value["id"]), value["jobs"], tuple(value["tasks"]))
        for name, value in envelope["foreign"].items()
    }
    files = tuple(envelope["files"])
    table = envelope.get("foreach")
    inline = description.get("foreach", {})
    if table is not None:
        if inline:
            report.add(("foreach",), "is there twice", "a file or rows")
        columns = tuple(table["columns"])
        if len(set(columns)) < len(columns):
            report.add(("foreach",), "has a column twice", "rename one of them")
        return rules.Context(files, columns, table["rows"], None, None, foreign, False)
    if "file" in inline:
        report.add(("foreach", "file"), "stands in the description", "put it beside it")
    rows = inline.get("rows", [])
    check_rows(rows, report)
    return inline_context(rows, files, foreign, thorough=False)


def inline_context(
    rows: list[Any],
    files: tuple[str, ...],
    foreign: Mapping[str, rules.Foreign] | None,
    *,
    thorough: bool,
) -> rules.Context:
    """Context of a description whose rows, if any, stand in it."""
    if not rows:
        return rules.Context(files, foreign=foreign, thorough=thorough)
    columns = tuple(sorted(rows[0]))
    return rules.Context(files, columns, len(rows), rows[0], rows[-1], foreign, thorough)


def check_rows(rows: list[Any], report: Report) -> None:
    """All rows have the same columns, at least one."""
    for number, row in enumerate(rows):
        if not row:
            report.add(("foreach", "rows", number), "has no column", "write { run = 1 }")
        elif set(row) != set(rows[0]):
            right = "write the same columns in all: " + ", ".join(sorted(rows[0]))
            report.add(("foreach", "rows", number), "has other columns than the first row", right)


def _check_foreign(envelope: Mapping[str, Any], outcome: rules.Outcome, report: Report) -> None:
    """The datasets waited for are exactly those that are resolved."""
    used = {wait.dataset for waits in outcome.waits for wait in waits if wait.dataset}
    for name in sorted(used - set(envelope["foreign"])):
        report.add(("foreign",), f'dataset "{name}" is not resolved', "name its id, jobs and tasks")
    for name in sorted(set(envelope["foreign"]) - used):
        report.add(("foreign", name), "nothing waits for it", "leave it out")


def task_names(description: Any) -> dict[int, str]:
    """Index to name, for places in messages, of a description that may be wrong anywhere."""
    tasks = description.get("task") if isinstance(description, dict) else None
    if not isinstance(tasks, list):
        return {}
    return {
        index: task["name"]
        for index, task in enumerate(tasks)
        if isinstance(task, dict) and isinstance(task.get("name"), str)
    }


def needs_of(table: Mapping[str, Any], base: Needs) -> Needs:
    """`base` with the keys of a checked [needs] table."""
    return Needs(
        cpu=table.get("cpu", base.cpu),
        gpu=table.get("gpu", base.gpu),
        memory_bytes=parse_size(table["memory"]) if "memory" in table else base.memory_bytes,
        disk_bytes=parse_size(table["disk"]) if "disk" in table else base.disk_bytes,
        time_s=parse_time(table["time"]) if "time" in table else base.time_s,
    )


def _compiled(
    id_: bytes,
    description: Mapping[str, Any],
    document: Mapping[str, Any],
    outcome: rules.Outcome,
    context: rules.Context,
) -> DatasetSpec:
    foreign = context.foreign or {}
    numbers = {task["name"]: index for index, task in enumerate(description["task"])}
    tasks = tuple(
        _task(description, index, outcome, numbers, foreign)
        for index in range(len(description["task"]))
    )
    table = document.get("foreach")
    return DatasetSpec(
        id=id_,
        name=description["name"],
        description=description.get("description", ""),
        labels=description.get("labels", {}),
        group=description.get("group", ""),
        priority=description.get("priority", 50),
        jobs=outcome.jobs,
        cells=outcome.cells,
        extend=description.get("extend", not outcome.uses_jobs),
        tasks=tasks,
        files=tuple(
            FileRef(to, bytes.fromhex(blob["digest"]), blob["size"], blob["mode"])
            for to, blob in document["files"].items()
        ),
        foreach=table and FileRef("foreach", bytes.fromhex(table["digest"]), table["size"], 0o644),
        document=document,
    )


def _task(
    description: Mapping[str, Any],
    index: int,
    outcome: rules.Outcome,
    numbers: Mapping[str, int],
    foreign: Mapping[str, rules.Foreign],
) -> TaskSpec:
    task = description["task"][index]
    after = []
    for wait in outcome.waits[index]:
        if not wait.dataset:
            after.append(After(wait.text, numbers[wait.task], wait.task))
            continue
        other = foreign[wait.dataset]
        number = other.tasks.index(wait.task)
        after.append(
            After(wait.text, number, wait.task, other.id, wait.dataset, wait.all_jobs, other.jobs)
        )
    sites = {**description.get("sites", {}), **task.get("sites", {})}
    retry = {**description.get("retry", {}), **task.get("retry", {})}
    return TaskSpec(
        index=index,
        name=task["name"],
        after=tuple(after),
        needs=needs_of(task.get("needs", {}), needs_of(description.get("needs", {}), Needs())),
        retry_max=retry.get("max", 3),
        sites={key: tuple(globs) for key, globs in sites.items()},
    )


def check_stored_size(document: bytes) -> int:
    """Bytes of the document as stored. Raises Invalid above the bound."""
    size = len(pack_document(document))
    if size > STORED_BYTES_MAX:
        what = f"is {size:,} bytes when compressed, at most {STORED_BYTES_MAX:,} can be stored"
        raise _refused(what, "move long tables into a foreach file, long scripts into files")
    return size

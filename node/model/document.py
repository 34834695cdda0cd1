"""What people write: TOML or JSON to a Draft, and a Draft to the bytes that they sign."""

from __future__ import annotations

import json
import re
import secrets
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

from node.model import files, rules, validate
from node.model.after import BadAfter, Wait, parse
from node.model.dataset import DatasetSpec
from node.model.description import DATASET, DEPTH_MAX, TEXT_BYTES_MAX, UNITS_MAX
from node.model.files import LocalFile
from node.model.lines import Lines, json_lines, toml_lines
from node.model.problems import Enough, Invalid, Problem, Report, placed
from node.model.rows import BadRows, RowTable, scan
from node.model.rules import Context, Foreign
from node.model.units import show_size

VERSION: Final = 1
_NO_FOREIGN: Final = "this dataset waits for another one"

Resolve = Callable[[str], Foreign]
"""Finds another dataset by the name in `after`; raises LookupError with a sentence."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A dataset ready to be signed. blobs: digest to where the bytes are (a path, or they)."""

    document: bytes
    blobs: Mapping[bytes, Path | bytes]
    spec: DatasetSpec
    warnings: tuple[Problem, ...]
    files: tuple[LocalFile, ...]
    stored_bytes: int  # the document, compressed

    @property
    def id(self) -> bytes:
        return self.spec.id

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def jobs(self) -> int:
        return self.spec.jobs

    @property
    def tasks(self) -> int:
        return len(self.spec.tasks)

    @property
    def units(self) -> int:
        return self.spec.jobs * len(self.spec.tasks)


@dataclass(slots=True)
class Draft:
    """A description as read: what it says, where it stands, what is wrong so far.

    table: the description with TOML's dates as text. problems, warnings: of everything that can
    be known without other datasets.
    """

    table: dict[str, Any]
    base: Path
    source: str
    lines: Callable[[], Lines]
    files: list[LocalFile] = field(default_factory=list)
    rows: RowTable | None = None
    _clean: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The dataset's label, "" while it has none."""
        name = self._clean.get("name", "")
        return name if isinstance(name, str) else ""

    def foreign_names(self) -> list[str]:
        """Other datasets that `after` names."""
        return sorted(set(_foreign_paths(self._clean)))

    def problems(self) -> list[Problem]:
        """Everything that is wrong, other datasets aside."""
        report, _ = self._check(None, None)
        return self._placed(report.problems)

    def check(self) -> None:
        """Raises Invalid with everything that is wrong, other datasets aside."""
        problems = self.problems()
        if problems:
            raise Invalid(problems, self.source)

    def rehearse(self) -> Submission:
        """What `build` would make, other datasets taken as they are named: for plans alone."""
        names: dict[str, list[str]] = {}
        for name, task in _foreign_tasks(self._clean):
            names.setdefault(name, []).append(task)
        nobody = bytes(32)

        def stand_in(name: str) -> Foreign:
            return Foreign(nobody, UNITS_MAX, tuple(dict.fromkeys(names[name])))

        return self.build(stand_in, bytes(16))

    def place(self, path: tuple[str | int, ...]) -> Problem:
        """Where a key stands, in the words of a problem."""
        return self._placed([Problem("", "", path=path)])[0]

    def build(self, resolve: Resolve | None = None, nonce: bytes | None = None) -> Submission:
        """The bytes to sign. nonce: 16 bytes, fresh if absent. Raises Invalid with all errors."""
        report, context = self._check(resolve, self._resolved(resolve))
        if report.problems:
            raise Invalid(self._placed(report.problems), self.source)
        blobs, listed = self._blobs(report)
        if report.problems:
            raise Invalid(self._placed(report.problems), self.source)
        envelope = self._envelope(listed, context, nonce or secrets.token_bytes(16))
        document = validate.canonical(envelope)
        try:
            stored = validate.check_stored_size(document)
            spec = validate.read_submission(document)
        except Invalid as error:
            raise Invalid(error.errors, self.source) from None
        warnings = tuple(self._placed(report.warnings))
        return Submission(document, blobs, spec, warnings, tuple(self.files), stored)

    # --- steps

    def _check(
        self, resolve: Resolve | None, found: tuple[dict[str, Foreign], Report] | None
    ) -> tuple[Report, Context]:
        report = found[1] if found else Report()
        context = Context()
        with suppress(Enough):
            self._clean = DATASET.check(self.table, (), report)
            _check_version(self.table, report)
            self.files = files.find(self._clean, self.base, report)
            context = self._context(report, found[0] if found else None)
            rules.check(self._clean, context, report)
            files.check_use(self._clean, self.files, self.base, report)
        return report, context

    def _resolved(self, resolve: Resolve | None) -> tuple[dict[str, Foreign], Report]:
        report, found = Report(), dict[str, Foreign]()
        self._clean = _without_bad(self.table)
        for name, path in _foreign_paths(self._clean).items():
            try:
                if resolve is None:
                    raise LookupError(_NO_FOREIGN)
                found[name] = resolve(name)
            except LookupError as error:
                what = str(error.args[0]) if error.args else f'no dataset "{name}"'
                report.add(path, what, "name a dataset that the node knows")
        return found, report

    def _context(self, report: Report, foreign: Mapping[str, Foreign] | None) -> Context:
        local = tuple(file.to for file in self.files)
        foreach = self._clean.get("foreach")
        if foreach is None:
            return Context(local, foreign=foreign)
        if ("file" in foreach) == ("rows" in foreach):
            if not report.below(("foreach",)):
                right = "write exactly one of file and rows"
                report.add(("foreach",), f"has {'both' if foreach else 'neither'}", right)
            return Context(local, foreign=foreign)
        if "rows" in foreach:
            validate.check_rows(foreach["rows"], report)
            inline = foreach["rows"] if len(foreach["rows"]) else []
            return validate.inline_context(inline, local, foreign, thorough=True)
        table = self._scanned(foreach["file"], report)
        if table is None:
            return Context(local, foreign=foreign)
        return Context(local, table.columns, table.rows, table.first, table.last, foreign)

    def _scanned(self, name: str, report: Report) -> RowTable | None:
        if self.rows is not None:
            return self.rows
        path = ("foreach", "file")
        try:
            self.rows = scan(self.base / name)
        except BadRows as error:
            report.add(path, f'"{name}" {error.args[0]}', error.args[1])
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            what = "no such file" if missing else "cannot be read"
            report.add(
                path, f'"{self.base / name}": {what}', "paths start at the description's folder"
            )
        return self.rows

    def _blobs(self, report: Report) -> tuple[dict[bytes, Path | bytes], dict[str, Any]]:
        blobs: dict[bytes, Path | bytes] = {}
        listed = {}
        for number, file in enumerate(self.files):
            try:
                digest = file.digest()
            except OSError as error:
                reason = error.strerror or "cannot be read"
                report.add(("files", number), f'"{file.path}": {reason}', "make it readable")
                continue
            blobs[digest] = file.path
            listed[file.to] = {"digest": digest.hex(), "size": file.size, "mode": file.mode}
        if self.rows is not None:
            blobs[self.rows.digest] = self.base / self._clean["foreach"]["file"]
        return blobs, listed

    def _envelope(
        self, listed: Mapping[str, Any], context: Context, nonce: bytes
    ) -> dict[str, Any]:
        description = {k: v for k, v in self._clean.items() if k != "files"}
        if self.rows is not None:
            del description["foreach"]
        if "matrix" in description:
            description["matrix"] = [[axis, v] for axis, v in description["matrix"].items()]
        envelope: dict[str, Any] = {
            "floe": VERSION,
            "kind": "dataset",
            "nonce": nonce.hex(),
            "description": description,
            "files": listed,
            "foreign": {
                name: {"id": other.id.hex(), "jobs": other.jobs, "tasks": list(other.tasks)}
                for name, other in (context.foreign or {}).items()
            },
        }
        if self.rows is not None:
            table = self.rows
            envelope["foreach"] = {
                "digest": table.digest.hex(),
                "size": table.size,
                "rows": table.rows,
                "columns": list(table.columns),
                "format": table.format,
            }
        return envelope

    def _placed(self, problems: list[Problem]) -> list[Problem]:
        if not problems:
            return []
        return placed(problems, validate.task_names(self.table), self.lines())


def _foreign_paths(clean: Mapping[str, Any]) -> dict[str, tuple[str | int, ...]]:
    """Names of other datasets in `after`, with the first place of each."""
    found: dict[str, tuple[str | int, ...]] = {}
    for path, wait in _waits(clean):
        found.setdefault(wait.dataset, path)
    return found


def _foreign_tasks(clean: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(wait.dataset, wait.task) for _, wait in _waits(clean)]


def _waits(clean: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Wait]]:
    """Entries of `after` that name other datasets."""
    for index, task in enumerate(clean.get("task", [])):
        for number, text in enumerate(task.get("after", [])):
            with suppress(BadAfter):
                wait = parse(text)
                if wait.dataset:
                    yield ("task", index, "after", number), wait


def _without_bad(table: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a description that may stand; what is wrong is reported elsewhere."""
    clean: dict[str, Any] = {}
    with suppress(Enough):
        clean = DATASET.check(table, (), Report())
    return clean


def _check_version(table: Mapping[str, Any], report: Report) -> None:
    version = table.get("floe")
    if type(version) is int and version > VERSION:
        report.problems = [p for p in report.problems if p.path != ("floe",)]
        what = f"a description of version {version}, this floe reads {VERSION}"
        report.add(("floe",), what, "install a newer floe")


# --- reading --------------------------------------------------------------------------------


def load(source: Path | str | Mapping[str, Any], base_dir: Path | None = None) -> Draft:
    """A description from a file (Path), from text (str) or from a table (Mapping).

    base_dir: where its files are looked up; default the file's folder, else the current one.
    Raises Invalid if it cannot be parsed at all; everything else waits for `build` or `check`.
    """
    if isinstance(source, Path):
        return _from_text(_read(source), source.name, base_dir or source.parent)
    base = base_dir or Path()
    if isinstance(source, str):
        return _from_text(source, "description", base)
    draft = Draft(dict(source), base, "description", dict)
    draft._clean = _without_bad(draft.table)
    return draft


def _read(path: Path) -> str:
    name = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(TEXT_BYTES_MAX + 1)
            size = len(raw) if len(raw) <= TEXT_BYTES_MAX else path.stat().st_size
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise _refused(
            name, f"{reason or 'cannot be read'}", "name the description's file"
        ) from None
    if len(raw) > TEXT_BYTES_MAX:
        what = f"is {show_size(size)}, a description has at most 1 MiB"
        raise _refused(name, what, "put long tables into a foreach file, data into files")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{raw[error.start]:02x} is no UTF-8"
        raise _refused(name, what, "save the file as UTF-8", line) from None


def _refused(source: str, what: str, right: str, line: int = 0) -> Invalid:
    return Invalid([Problem("", what, right, line)], source)


def _from_text(text: str, source: str, base: Path) -> Draft:
    if len(text) > TEXT_BYTES_MAX:
        what = f"is {show_size(len(text))}, a description has at most 1 MiB"
        raise _refused(source, what, "put long tables into a foreach file, data into files")
    deep = _refused(source, f"is nested deeper than {DEPTH_MAX}", "make it flatter")
    if _depth(text) > DEPTH_MAX:
        raise deep
    as_json = source.endswith(".json") or text.lstrip()[:1] == "{"
    try:
        table = _parse_json(text, source) if as_json else _parse_toml(text, source)
        if _is_deep(table):
            raise deep
    except RecursionError:
        raise deep from None
    draft = Draft(
        _plain(table), base, source, lambda: (json_lines if as_json else toml_lines)(text)
    )
    draft._clean = _without_bad(draft.table)
    return draft


_TOKENS: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}.=\n]',
    re.DOTALL,
)


def _depth(text: str) -> int:
    """How deep brackets and dotted keys nest, without parsing: parsers are slow or fall over."""
    depth = deepest = dots = 0
    for match in _TOKENS.finditer(text):
        sign = match[0]
        if sign == ".":
            dots += 1
        elif sign in ("[", "{"):
            depth += 1
        elif sign in ("]", "}"):
            depth = max(depth - 1, 0)
        elif sign in ("=", "\n"):
            dots = 0
        deepest = max(deepest, depth, dots)
    return deepest


def _is_deep(table: Any) -> bool:
    """Dotted keys nest without brackets."""
    level, depth = [table], 0
    while level:
        if depth > DEPTH_MAX:
            return True
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        level, depth = below, depth + 1
    return False


def _parse_json(text: str, source: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(source, f'"{twice}" stands twice in a table', "leave one out")
        return table

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        what = f"is no JSON: {error.msg}, column {error.colno}"
        raise _refused(source, what, "mend it there", error.lineno) from None
    except ValueError:
        raise _refused(source, "has a number that is too long", "write it as text") from None
    if not isinstance(value, dict):
        raise _refused(source, "is no table", 'write { "floe": 1, ... }')
    return value


def _parse_toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
        message = str(error)[: where.start()] if where else str(error)
        message = message[:1].lower() + message[1:]
        line = int(where[1]) if where and where[1] else text.count("\n") + 1
        column = f", column {where[2]}" if where and where[2] else ", at the end"
        raise _refused(source, f"is no TOML: {message}{column}", "mend it there", line) from None
    except ValueError:
        raise _refused(source, "has a number that is too long", "write it as text") from None


def _plain(value: Any) -> Any:
    """TOML's dates, infinities and NaN as text, since JSON has none."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float) and value - value != 0:
        return "nan" if value != value else ("inf" if value > 0 else "-inf")
    return value

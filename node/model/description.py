"""Every key of a description: its kind, its bounds, its default, and whether it is reserved.

The reference for people is docs/dataset.md; a test keeps the two together.
"""

from __future__ import annotations

from typing import Final

from node.model.kinds import (
    ANY_TIME,
    SIZE,
    TIME,
    Bool,
    Braced,
    Either,
    Int,
    Key,
    Kind,
    ListOf,
    MapOf,
    Only,
    Reserved,
    Scalar,
    Table,
    Text,
    Value,
)

UNITS_MAX: Final = 1_000_000_000
CELLS_MAX: Final = 1_000_000
ROWS_MAX: Final = 10_000_000
INLINE_ROWS_MAX: Final = 100
FILES_MAX: Final = 256
FILE_BYTES_MAX: Final = 1 << 30
DOCUMENT_BYTES_MAX: Final = 512 << 10  # the signed document, before compression
STORED_BYTES_MAX: Final = 48 << 10  # the same, compressed
TEXT_BYTES_MAX: Final = 1 << 20  # a description as written
DEPTH_MAX: Final = 64  # brackets within brackets of a description as written

NAME_PATTERN: Final = r"(?![0-9]+\Z)[a-z0-9][a-z0-9._-]{0,62}"
NAME: Final = Text(
    63,
    NAME_PATTERN,
    "is no name of a dataset",
    "use a-z, 0-9, '.', '_' and '-', at most 63, not digits alone",
)
TASK_NAME: Final = Text(
    63,
    r"(?![0-9]+\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
    "is no name of a task or module",
    "use letters, digits, '.', '_' and '-', at most 63, not digits alone",
)
IDENTIFIER: Final = Text(
    64, r"[A-Za-z_][A-Za-z0-9_]*", "cannot be used in braces", "use letters, digits and '_'"
)
VARIABLE: Final = Text(
    255,
    r"(?!FLOE_)[A-Za-z_][A-Za-z0-9_]*",
    "is no name of a variable that you may set",
    "use letters, digits and '_'; FLOE_... belongs to Icefloe",
)
GROUP: Final = Text(63, r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "is no name of a group")
LINE: Final = Text(4096, empty=False)
WORD: Final = Text(131_072)
GLOBS: Final = ListOf(Text(255, empty=False), 64)
STRINGS: Final = ListOf(Text(255, empty=False), 64)
EXIT_CODES: Final = ListOf(Int(0, 255), 256)


def _reserved(name: str, kind: Kind, doc: str) -> Key:
    return Key(name, kind, doc, reserved=True)


SITES: Final = Table(
    (
        Key("only", GLOBS, "Run at these sites alone (names, globs)."),
        Key("avoid", GLOBS, "Never run at these sites."),
        Key("prefer", GLOBS, "Run here first, elsewhere otherwise."),
    )
)
ENV: Final = Table(
    (
        _reserved("image", Text(4096), "Container, as a path or URL."),
        Key("setup", Text(65_536), "Shell text before the command; never expanded.", ""),
        Key("wrap", ListOf(WORD, 64), "Words before every `run`.", []),
        Key("vars", MapOf(VARIABLE, WORD, 256), "Environment variables; expanded."),
        Key("clear", Bool(), "Begin from an almost empty environment.", True),
        Key("keep", ListOf(Text(255, empty=False), 64), "Variables to keep (globs).", []),
    )
)


def _need(name: str, kind: Kind, doc: str, default: int | str) -> Key:
    return Key(name, Braced(kind, "an expression in needs"), doc, default)


NEEDS: Final = Table(
    (
        _need("cpu", Int(1, 4096), "Processor cores.", 1),
        _need("gpu", Int(0, 64), "GPUs.", 0),
        _need("memory", SIZE, "Main memory.", "1GB"),
        _need("disk", SIZE, "Scratch space, inputs included.", "1GB"),
        _need("time", TIME, "Wall time.", "1h"),
        _reserved("gpu_memory", SIZE, "Memory of each GPU."),
        _reserved("gpu_model", STRINGS, "GPU models, any of them."),
        _reserved("gpu_capability", Text(64), "Compute capability."),
        _reserved("os", STRINGS, "Operating systems, any of them."),
        _reserved("arch", STRINGS, "Processor architectures, any of them."),
        _reserved("custom", MapOf(IDENTIFIER, Int(0, 1 << 62), 32), "Countables of a site."),
    )
)
RETRY: Final = Table(
    (
        Key("max", Int(0, 20), "How often a unit that failed runs again.", 3),
        _reserved("wait", ANY_TIME, "Time before the next try."),
        _reserved(
            "memory",
            Table((Key("times", Int(1, 100), ""), Key("max", SIZE, ""))),
            "Growth of memory.",
        ),
        _reserved(
            "time",
            Table((Key("times", Int(1, 100), ""), Key("max", TIME, ""))),
            "Growth of time.",
        ),
    )
)
FILE: Final = Either(
    (
        (str, LINE),
        (
            dict,
            Table(
                (
                    Key("from", LINE, "Path here.", required=True),
                    Key("to", LINE, "Path in the scratch folder."),
                )
            ),
        ),
    ),
    'write "gen.py" or { from = "cfg/a.json", to = "a.json" }',
)
FOREACH: Final = Table(
    (
        Key("file", LINE, "CSV with a header, or JSON lines."),
        Key(
            "rows",
            ListOf(MapOf(IDENTIFIER, Scalar(), 256), INLINE_ROWS_MAX, 1),
            "The rows themselves.",
        ),
    )
)
AFTER: Final = Either(
    (
        (str, Text(512, empty=False)),
        (
            dict,
            Reserved(
                Table(
                    (
                        Key("task", LINE, "", required=True),
                        Key("when", LINE, ""),
                        Key("min", Scalar(), ""),
                    )
                ),
                "a table in after",
            ),
        ),
    ),
    'write "task", "dataset/task" or "dataset/task:*"',
)
INPUT: Final = Either(
    (
        (str, LINE),
        (
            dict,
            Table(
                (
                    Key("from", LINE, "Where it comes from.", required=True),
                    Key("optional", Bool(), "Go on without it.", False),
                    _reserved("unpack", Bool(), "Unpack an archive."),
                )
            ),
        ),
    ),
    'write "task/file", "https://..." or { from = "...", optional = true }',
)
OUTPUT: Final = Either(
    (
        (bool, Only(True)),
        (
            dict,
            Table(
                (
                    Key("to", ListOf(LINE, 16, 1), "URLs to copy it to."),
                    Key("optional", Bool(), "May be missing.", False),
                    Key("temp", Bool(), "May go once its consumers have settled.", False),
                )
            ),
        ),
    ),
    'write true or { to = ["file:///d/{job}.npz"] }',
)
OUTPUTS: Final = Either(
    ((list, ListOf(LINE, 64)), (dict, MapOf(LINE, OUTPUT, 64))),
    'write ["sim.npz"] or { "sim.npz" = true }',
)
WRITE: Final = Either(
    ((str, Text(1 << 20)), (list, Value()), (dict, Value())), "write text, a list or a table"
)
EXIT: Final = Table(
    (
        Key("ok", EXIT_CODES, "Codes that mean success.", [0]),
        Key("retry", EXIT_CODES, "Codes that cost no retry.", []),
        Key("fail", EXIT_CODES, "Codes after which no retry helps.", []),
        _reserved("hold", EXIT_CODES, "Codes after which people must look."),
    )
)
MODULE: Final = Table(
    (
        Key("name", TASK_NAME, "Default m0, m1, ..."),
        Key("run", ListOf(WORD, 4096, 1), "The command and its arguments; expanded."),
        Key("script", Text(1 << 20, empty=False), "Text for /bin/sh -eu; never expanded."),
        Key("expand", Bool(), "false: the strings of this module are literal.", True),
        Key("write", MapOf(LINE, WRITE, 64), "Files to write first."),
        Key("env", ENV, "Environment of this module."),
        Key("cwd", LINE, "Folder to run in, below the scratch folder.", "."),
        Key("stdin", LINE, "Local file to read; default /dev/null."),
        Key("stdout", LINE, "Local file to write; default the log."),
        Key("stderr", LINE, "Local file to write; default the log."),
        Key("exit", EXIT, "What exit codes mean."),
        _reserved("time", TIME, "Wall time of this module."),
    )
)
MAX_RUNNING: Final = _reserved("max_running", Int(1, UNITS_MAX), "Units that run at once.")
CREDENTIALS: Final = _reserved("credentials", MapOf(LINE, LINE, 32), "Tokens for URLs.")
PARAMS: Final = MapOf(IDENTIFIER, Value(), 256)
TASK: Final = Table(
    (
        Key("name", TASK_NAME, "Name of the task.", required=True),
        Key("after", ListOf(AFTER, 64), "What must be settled first.", []),
        Key("params", PARAMS, "Parameters of this task; they shadow the dataset's."),
        Key(
            "needs",
            Either(
                (
                    (dict, NEEDS),
                    (list, Reserved(ListOf(NEEDS, 16, 1), "a list of alternative needs")),
                ),
                "write { memory = ... }",
            ),
            "What a unit of this task needs.",
        ),
        Key("retry", RETRY, "Retries of this task."),
        Key("sites", SITES, "Where this task may run."),
        Key("env", ENV, "Environment of this task."),
        Key("inputs", MapOf(LINE, INPUT, 256), "Local name = where it comes from."),
        Key("outputs", OUTPUTS, "Files to keep."),
        Key("module", ListOf(MODULE, 256, 1), "Commands, in order.", required=True),
        _reserved(
            "checkpoint",
            Table(
                (
                    Key("files", ListOf(LINE, 64, 1), ""),
                    Key("every", TIME, ""),
                    Key("exit", Int(0, 255), ""),
                )
            ),
            "Files with which a unit goes on elsewhere.",
        ),
        _reserved("batch", MapOf(LINE, MapOf(LINE, Value(), 64), 16), "Raw batch settings."),
        MAX_RUNNING,
        CREDENTIALS,
    )
)
DATASET: Final = Table(
    (
        Key("floe", Int(1, 1), "Version of the description.", required=True),
        Key("name", NAME, "Label of the dataset.", required=True),
        Key("description", Text(4096), "What it is.", ""),
        Key("labels", MapOf(Text(63, empty=False), Text(255), 32), "Labels to search for."),
        Key("group", GROUP, "Default: your first group."),
        Key("priority", Int(0, 100), "Order among your own datasets.", 50),
        Key("jobs", Int(1, UNITS_MAX), "Jobs for each cell and row.", 1),
        Key("extend", Bool(), "May grow later.", True),
        Key("files", ListOf(FILE, FILES_MAX), "Files that every unit finds.", []),
        Key("foreach", FOREACH, "A table: one cell for each row."),
        Key("sites", SITES, "Where it may run."),
        Key(
            "matrix",
            MapOf(IDENTIFIER, ListOf(Scalar(), CELLS_MAX, 1), 8),
            "Axes: one cell for each combination.",
        ),
        Key("params", PARAMS, "Names for use in braces."),
        Key("env", ENV, "Environment of all tasks."),
        Key("needs", NEEDS, "What a unit needs."),
        Key("retry", RETRY, "Retries of all tasks."),
        Key("task", ListOf(TASK, 64, 1), "Tasks of every job.", required=True),
        MAX_RUNNING,
        CREDENTIALS,
        _reserved("notify", ListOf(LINE, 32), "Whom to tell."),
    )
)

"""What the commands print: harmless text, numbers for people, tables, JSON for scripts."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from node.cli.layout import BELOW_INDENT, FOLDED_MIN, GAP, Layout, below, fit

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

SCHEMA = 1  # of every --json reply; raised when a field changes its meaning or goes
PLAIN_WIDTH = 2000  # of a table that goes to a file or a pipe: nothing is cut there

# Columns of words that people copy or look for first: never folded.
KEPT_WHOLE = ("NAME", "SITE", "STATE", "SHARD", "TASK", "PEER", "JOB", "HOST", "#")

_COMMAND = re.compile(r"\bfloe [a-z]+( [a-z]+)?( \S+)?$")
_JOIN = "\x00"  # no text of ours has it: `harmless` wrote it out
_UNIT = re.compile(r"(?<=\d) (?=([kMGT]?i?B|s|min|h|CPUs?|GPUs?)\b)")  # stays with its number
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

STATE_STYLE = {
    "settled": "green",
    "done": "green",
    "running": "cyan",
    "ready": "",
    "waiting": "dim",
    "failed": "bold red",
    "blocked": "red",
    "cancelled": "dim",
    "paused": "yellow",
    "alive": "green",
    "unreachable": "red",
    "drained": "yellow",
    "leaving": "yellow",
    "ok": "green",
    "stopped": "bold red",
    "no answer": "bold red",
    "held": "red",
    "queued": "dim",
    "in doubt": "yellow",
    "unknown": "yellow",
}


def harmless(text: object, *, lines: bool = False) -> str:
    r"""`text` with every control, hidden or direction-changing character written out, as \x1b.

    lines: keep line breaks and tabs (a lone carriage return becomes a line break) and drop pure
    colour codes, as suits a log. Otherwise the result is one line.
    """
    value = str(text)
    if lines:
        value = _COLOUR.sub("", value).replace("\r\n", "\n").replace("\r", "\n")
    if value.isascii() and value.isprintable():
        return value
    return "".join(_shown(character, lines) for character in value)


def _shown(character: str, lines: bool) -> str:
    if character.isprintable() or (lines and character in "\n\t"):
        return character
    return ascii(character)[1:-1]


def say(text: str = "") -> None:
    """One line (or more) for the person, to standard output."""
    print(text, flush=True)


def say_wrapped(text: str, hang: str = "  ", tell: Callable[[str], None] | None = None) -> None:
    """One line; on a terminal that is too narrow, several, all but the first one after `hang`.

    tell: where to; `note` for standard error.
    """
    import shutil

    tell = tell or say
    if not (sys.stderr if tell is note else sys.stdout).isatty():
        tell(text)
        return
    for line in wrapped(text, shutil.get_terminal_size().columns, hang):
        tell(line)


def say_marked(lead: Text, words: str, hang: int) -> None:
    """A styled beginning and what it is about; folded as say_wrapped does, with `hang` spaces."""
    out, plain = console(), f"{lead.plain}{harmless(words)}"
    room = out.is_terminal and out.width > len(lead.plain) + FOLDED_MIN
    lines = wrapped(plain, out.width, " " * hang) if room else [plain]
    first = lead.copy()
    first.append(lines[0][len(lead.plain) :])
    out.print(first, soft_wrap=True)
    for line in lines[1:]:
        say(line)


def wrapped(text: str, width: int, hang: str) -> list[str]:
    """`text` in lines of so many characters. A command at its end, to be copied, stays whole."""
    import textwrap

    kept = _COMMAND.sub(lambda found: found[0].replace(" ", _JOIN), _UNIT.sub(_JOIN, text))
    lines = textwrap.wrap(
        kept, max(width, FOLDED_MIN), subsequent_indent=hang, break_long_words=False,
        break_on_hyphens=False, drop_whitespace=True,
    )  # fmt: skip
    return [line.replace(_JOIN, " ") for line in lines]


def note(text: str) -> None:
    """One line beside the result, to standard error."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object with its schema version first, pure ASCII, so no terminal is moved by it."""
    print(json.dumps({"schema": SCHEMA, **value}, indent=2), flush=True)


def console(stderr: bool = False) -> Console:
    """A rich console that interprets no markup, no emoji and no links in what it is given."""
    from rich.console import Console

    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() else PLAIN_WIDTH
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def styled(text: object, style: str = "") -> Text:
    """Text from anywhere as one harmless cell."""
    from rich.text import Text

    return Text(harmless(text), style=style)


def state(name: object) -> Text:
    return styled(name, STATE_STYLE.get(str(name), ""))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], out: Console | None = None
) -> None:
    """Columns as in FACES: a name that starts with ">" is aligned right. Cells: text or Text.

    On a terminal it is fitted into its width, see node/cli/layout.py; elsewhere nothing is cut.
    """
    from rich.text import Text

    out = out or console()
    cells = [[cell if isinstance(cell, Text) else styled(cell) for cell in row] for row in rows]
    if out.is_terminal:
        out.print(Fitted(columns, cells))
        return
    with out.capture() as captured:
        out.print(_table(columns, cells, header_style="bold"))
    for line in captured.get().splitlines():
        say(line.rstrip())


class Fitted:
    """A table that is fitted into the width it is given; rich draws it.

    What has no place beside the rest stands below its row.
    """

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[Text]], header_style: str = "bold"
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._header_style = header_style

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names = [name.lstrip(">") for name in self._columns]
        widths = [
            max([len(name), *(row[at].cell_len for row in self._rows)])
            for at, name in enumerate(names)
        ]
        folds = [
            not column.startswith(">") and name.strip() not in KEPT_WHOLE
            for column, name in zip(self._columns, names, strict=True)
        ]
        layout = fit(widths, folds, options.max_width)
        kept = len(layout.widths)
        shown = self._columns[:kept]
        if kept == len(names):
            yield _table(shown, self._rows, layout, self._header_style)
            return
        yield _table(shown, [], layout, self._header_style)
        for row in self._rows:
            yield _table(shown, [row[:kept]], layout)
            words = below(names[kept:], [cell.plain for cell in row[kept:]])
            yield from _indented(words, options.max_width)


def _indented(words: str, width: int) -> Iterator[Text]:
    import textwrap

    for line in textwrap.wrap(words, max(width - BELOW_INDENT, FOLDED_MIN)):
        text = styled(" " * BELOW_INDENT + line, "dim")
        text.no_wrap, text.overflow = True, "ignore"
        yield text


def _table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Text]],
    layout: Layout | None = None,
    header_style: str = "",
) -> Table:
    """layout: None leaves the widths to rich. header_style: "" for no header."""
    from rich.table import Table

    made = Table(
        box=None,
        pad_edge=False,
        padding=(0, layout.gap if layout else GAP, 0, 0),
        header_style=header_style,
        show_header=bool(header_style),
    )
    for at, name in enumerate(columns):
        made.add_column(
            name.lstrip(">"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=layout is None,
            overflow="fold",
            width=layout.widths[at] if layout else None,
        )
    for row in rows:
        made.add_row(*row)
    return made


# --- numbers and times for people


def number(value: object) -> str:
    """13110 -> "13,110"; what is no number is shown as "-"."""
    return f"{value:,}" if isinstance(value, int) else "-"


def plural(count: int, word: str, words: str = "") -> str:
    """(1, "job") -> "1 job", (25000, "job") -> "25,000 jobs"."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def size(value: object) -> str:
    """Bytes in decimal units: 2100 -> "2.1 kB"."""
    if not isinstance(value, int | float):
        return "-"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.5:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.3g} PB"


def duration(value: object) -> str:
    """Seconds: 0.42 -> "0.4 s", 45 -> "45 s", 7860 -> "2h11m", 200000 -> "2d7h"."""
    if not isinstance(value, int | float) or value < 0:
        return "-"
    if value < 10 and isinstance(value, float):
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def moment(epoch_ms: object) -> str:
    """Local time, with the date when it is not today."""
    if not isinstance(epoch_ms, int | float) or not 0 < epoch_ms < 32503680000000:
        return "-"
    then, today = time.localtime(epoch_ms / 1000), time.localtime()
    form = "%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M"
    return time.strftime(form, then)


def bar(fraction: float, width: int = 22) -> str:
    """A bar of eighths: ████▌·····"""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    drawn: str = "█" * full + ("", *"▏▎▍▌▋▊▉")[rest]
    return drawn.ljust(width, "·")

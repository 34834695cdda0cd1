"""What is wrong with a description: every problem with its place and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

Path = tuple[str | int, ...]  # keys and indices from the top: ("task", 0, "needs", "memory")
PROBLEMS_MAX: Final = 200  # kept and shown; more would only bury the first
_ARGV: Final = {"run", "wrap", "after"}  # lists whose items are not worth an index in the path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (a key path), what, what would be right, the line (or 0)."""

    where: str
    what: str
    right: str = ""
    line: int = 0
    path: Path = ()

    def json(self) -> dict[str, Any]:
        """{"where", "what", "right"} and, where known, "line"."""
        shown: dict[str, Any] = {"where": self.where, "what": self.what, "right": self.right}
        if self.line:
            shown["line"] = self.line
        return shown


class Invalid(Exception):
    """A document that is refused, with everything that is wrong with it. str() is for people."""

    def __init__(self, errors: Sequence[Problem], source: str = "description") -> None:
        self.errors = tuple(errors)
        self.source = source
        super().__init__(render(self.errors, source))


class Enough(Exception):
    """A report is full: whoever made it shows what it has."""


class Report:
    """Collects problems and warnings, none of them twice. `add` raises Enough when it is full."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._seen: set[tuple[Path, str]] = set()

    def add(self, path: Path, what: str, right: str = "") -> None:
        """Something that must change."""
        if (path, what) in self._seen:
            return
        self._seen.add((path, what))
        self.problems.append(Problem("", clean(what), clean(right), path=path))
        if len(self.problems) >= PROBLEMS_MAX:
            raise Enough

    def below(self, path: Path) -> bool:
        """Whether something at or below `path` is wrong already, so that more would be noise."""
        return any(problem.path[: len(path)] == path for problem in self.problems)

    def warn(self, path: Path, what: str, right: str = "") -> None:
        """Something that looks like a mistake but may be meant."""
        if (path, what) not in self._seen and len(self.warnings) < PROBLEMS_MAX:
            self._seen.add((path, what))
            self.warnings.append(Problem("", clean(what), clean(right), path=path))


def clean(text: str) -> str:
    """Text from outside with control characters made visible, on one line, of bounded length."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:500])
    return shown if len(text) <= 500 else shown + "..."


def shown_path(path: Path, names: Mapping[int, str]) -> str:
    """`task.reco.module[0].run`; names: task index to task name."""
    out = ""
    for depth, part in enumerate(path):
        if isinstance(part, str):
            out += ("." if out else "") + (part if _bare(part) else '"' + clean(part) + '"')
        elif depth == 1 and path[0] == "task" and names.get(part):
            out += "." + clean(names[part])
        elif depth == 0 or path[depth - 1] not in _ARGV:
            out += f"[{part}]"
    return out


def _bare(key: str) -> bool:
    return key.replace("_", "a").replace("-", "a").isalnum()


def placed(
    problems: Iterable[Problem], names: Mapping[int, str], lines: Mapping[Path, int]
) -> list[Problem]:
    """The problems with the path spelled out and the nearest line, in order of lines."""
    result = []
    for problem in problems:
        line = 0
        for end in range(len(problem.path), 0, -1):
            if problem.path[:end] in lines:
                line = lines[problem.path[:end]]
                break
        result.append(replace(problem, where=shown_path(problem.path, names), line=line))
    return sorted(result, key=lambda p: p.line)


def render(
    problems: Sequence[Problem], source: str = "description", outcome: str = "nothing was submitted"
) -> str:
    """The list as people see it:

    nugen.toml: 3 problems, nothing was submitted
      line 14  task.sim.needs.memory  "2 gigs" is no size; write "2GB" or "2GiB"
    """
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{clean(source)}: {count}, {outcome}"]
    return "\n".join(lines + rows(problems))


def rows(problems: Sequence[Problem]) -> list[str]:
    """One indented line a problem: line, place, what; what would be right."""
    number = max((len(str(p.line)) for p in problems if p.line), default=0)
    out = []
    for problem in problems:
        place = f"line {problem.line:<{number}}  " if problem.line else ""
        if number and not problem.line:
            place = " " * (number + 7)
        where = problem.where + "  " if problem.where else ""
        right = f"; {problem.right}" if problem.right else ""
        out.append(f"  {place}{where}{problem.what}{right}")
    return out


def meant(word: str, known: Iterable[str]) -> str:
    """`did you mean "sim"?`, or "" when nothing known is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""

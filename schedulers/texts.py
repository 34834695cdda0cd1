"""Reading what batch systems print, and writing words that they read. Pure.

What is printed is bytes from outside: decoded with replacement, without colours, bounded, and
refused as a whole when it is cut or does not parse. All commands run with LC_ALL=C, so words are
English and numbers have a point.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from schedulers.base import TAG, WORDS_MAX, Completed, Refused, SchedulerError

OUTPUT_BYTES_MAX = 32 << 20  # of one command; more is rubbish, and not read
TOLD_BYTES_MAX = 2 << 20  # of a command that is not asked for data
WORD_CHARS_MAX = 4096  # of one word that we put on a command line
LINES_MAX = 2_000_000  # of one output
ESCAPES_MAX = 500_000  # in one output: some colours in each line of a long listing
JSON_PARTS_MAX = 2_000_000  # a few hundred megabytes of memory, at the most
TASKS_MAX = 100_000  # tasks that a range such as 1-4 may stand for
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor movements: ECMA-48, 5.4
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles and other strings: ECMA-48, 5.6
    r"|\x1b[ -/]*[0-~]?"
)
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)([kKmMgGtTpPeE]?)[iI]?[bB]?")
_POWERS = {unit: power for power, unit in enumerate("kmgtpe", start=1)}
_CLOCK = re.compile(r"(?:(\d{1,6})-)?(?:(\d{1,9}):)?(?:(\d{1,9}):)?(\d{1,12})(?:\.\d{1,9})?")
_NEVER = re.compile(r"(?!)")
_NO_LIMIT = {"unlimited", "infinite", "infinity", "none", "n/a", "not_set", "undefined", ""}


def plain(data: bytes) -> str:
    """Decoded text with "\\n" between lines and without terminal escapes."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def harmless(words: str | bytes, chars_max: int = WORDS_MAX) -> str:
    """One line of printable characters, `chars_max` at most: for people's eyes."""
    if isinstance(words, bytes):
        words = words[: 32 * chars_max].decode("utf-8", "replace")
    text = words[: 8 * chars_max]
    if not text.isprintable():  # of ten thousand jobs nearly all words are
        text = _ESCAPES.sub("", text)
        text = "".join(each if each.isprintable() else " " for each in text)
    line = " ".join(text.split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def complaint(done: Completed) -> str:
    """What a command says is wrong: its last words on stderr, else on stdout, else its status."""
    for data in (done.err, done.out):
        lines = [line for line in plain(data[-8 * WORDS_MAX :]).splitlines() if line.strip()]
        if lines:
            return harmless(" · ".join(lines[-3:]))
    if done.status < 0:
        return f"killed by signal {-done.status}"
    return f"exit status {done.status}"


def whole(done: Completed, what: str, *, lines: bool = True) -> str:
    """All that a command printed on stdout.

    what: the command, for messages. lines: it prints lines; False for one document, which is known
    to be whole in other ways. Raises SchedulerError if it failed, or its output is cut: by our own
    bound, or in the middle of a line.
    """
    if done.status != 0:
        raise SchedulerError(named(what, complaint(done)))
    return uncut(done, what, lines=lines)


def refused(
    done: Completed,
    what: str,
    certain: re.Pattern[str],
    fewer: re.Pattern[str],
    full: re.Pattern[str] = _NEVER,
) -> None:
    """Raises Refused for a command that failed with words that only a refusal has.

    fewer, full: words of a limit to the number of jobs, which counts each pilot, or all pilots of a
    submission as one.
    """
    if done.status <= 0:
        return
    said = plain(done.err[-(1 << 16) :])
    of_fewer, of_full = fewer.search(said) is not None, full.search(said) is not None
    if of_fewer or of_full or certain.search(said):
        raise Refused(named(what, complaint(done)), limit=of_full, fewer=of_fewer)


def named(what: str, words: str) -> str:
    """Words that say which command they are of; many do by themselves."""
    return words if words.startswith(f"{what}: ") else f"{what}: {words}"


def uncut(done: Completed, what: str, *, lines: bool = True) -> str:
    """As `whole`, for a command whose failure tells something too."""
    if done.cut or len(done.out) > OUTPUT_BYTES_MAX:
        raise SchedulerError(f"{what}: printed more than {len(done.out)} bytes, which is too much")
    if done.out.count(b"\n") > LINES_MAX or done.out.count(b"\x1b") > ESCAPES_MAX:
        raise SchedulerError(f"{what}: printed too many lines, or colours: {harmless(done.out)!r}")
    text = plain(done.out)
    if lines and text and not text.endswith("\n"):
        raise SchedulerError(f"{what}: its output ends in the middle of a line")
    return text


def told(done: Completed, what: str) -> list[str]:
    """The lines that a command printed on stderr and stdout, one for each job perhaps.

    Raises SchedulerError for more than TOLD_BYTES_MAX.
    """
    if done.cut or len(done.out) + len(done.err) > TOLD_BYTES_MAX:
        raise SchedulerError(f"{what}: {complaint(done)}, and much more")
    lines = f"{plain(done.err)}\n{plain(done.out)}".split("\n")
    return [line.strip() for line in lines if line.strip()]


def rows(text: str, mark: str) -> Iterator[str]:
    """What follows `mark` on the lines that begin with it; others are warnings and greetings.

    For commands whose output format we choose: with a mark, what else is printed around the data
    cannot be taken for it.
    """
    for line in text.split("\n"):
        if line.startswith(mark):
            yield line[len(mark) :]


def json_of(text: str, what: str) -> object:
    """The one JSON document in `text`; lines before its first bracket are warnings.

    Raises SchedulerError if there is none, it is broken, or something follows it.
    """
    start = re.search(r"^[ \t]*[{\[]", text, re.MULTILINE)
    if start is None:
        raise SchedulerError(f"{what}: printed no JSON: {harmless(text, 80)!r}")
    few_parts(text, what)
    try:
        document: object = json.loads(text[start.start() :])
    except (ValueError, RecursionError) as error:
        raise SchedulerError(f"{what}: printed broken JSON: {error}") from None
    return document


def few_parts(text: str, what: str) -> None:
    """Raises SchedulerError for JSON of which more would be built than a listing can need."""
    if sum(map(text.count, ",{[")) > JSON_PARTS_MAX:
        raise SchedulerError(f"{what}: printed JSON of more than {JSON_PARTS_MAX} parts")


def tag_of(name: str) -> str:
    """The job's name if it is a tag, else ""."""
    return name if TAG.fullmatch(name) else ""


# Sizes and times.


def size_bytes(text: str, *, unit: str = "", lower: int = 1024) -> int | None:
    """Bytes of "4000M", "1.5gb", "16GiB"; None for words such as UNLIMITED.

    unit: of a bare number. lower: what k, m, g in lower case multiply by; 1000 in Grid Engine
    (sge_types(1), MEMORY). Raises ValueError for what is no size.
    """
    word = text.strip()
    if word.lower() in _NO_LIMIT:
        return None
    match = _SIZE.fullmatch(word)
    if match is None:
        raise ValueError(f"{harmless(text, 40)!r} is no size")
    letter = match[2] or unit
    base = lower if letter.islower() else 1024
    factor = base ** _POWERS[letter.lower()] if letter else 1
    return int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def in_units(size: int, unit_bytes: int) -> int:
    """Whole units that hold `size` bytes: rounded up, so that a job never gets less."""
    return -(-size // unit_bytes)


def clock(seconds: int) -> str:
    """HH:MM:SS with as many hours as it takes."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def seconds_of(text: str) -> int | None:
    """Seconds of "[D-]HH:MM:SS", "MM:SS" or a bare number of them; None for UNLIMITED and the like.

    Raises ValueError for what is no time.
    """
    word = text.strip()
    if word.lower() in _NO_LIMIT:
        return None
    match = _CLOCK.fullmatch(word)
    if match is None:
        raise ValueError(f"{harmless(text, 40)!r} is no time")
    days, first, second, last = (int(each or 0) for each in match.groups())
    hours, minutes = (first, second) if match[3] is not None else (0, first)
    return days * 86_400 + hours * 3600 + minutes * 60 + last


# Ranges of array tasks.


def in_tasks(text: str) -> Callable[[int], bool]:
    """Tells which tasks "1-4,7,10-20:2%5" stands for. Raises ValueError for another text."""
    parts = [_range(part) for part in text.partition("%")[0].split(",")]
    return lambda task: any(task in part for part in parts)


def _range(part: str) -> range:
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", part)
    if match is None or match[3] == "0":
        raise ValueError(f"{harmless(part, 40)!r} is no range of tasks")
    first = int(match[1])
    found = range(first, int(match[2] or first) + 1, int(match[3] or 1))
    if len(found) > TASKS_MAX:
        raise ValueError(f"{part} is more than {TASKS_MAX} tasks")
    return found


def spans(tasks: Iterable[int]) -> list[str]:
    """The fewest "1-4", "7" for these tasks."""
    parts: list[list[int]] = []
    for task in sorted(set(tasks)):
        if parts and parts[-1][1] == task - 1:
            parts[-1][1] = task
        else:
            parts.append([task, task])
    return [f"{a}" if a == b else f"{a}-{b}" for a, b in parts]


def by_array(jobs: Iterable[str], name: re.Pattern[str]) -> tuple[list[str], dict[str, list[int]]]:
    """Jobs that are no tasks, and tasks by the number of their array.

    name: what a job is called; its groups are the number and, if it has one, the task.
    """
    alone: list[str] = []
    tasks: dict[str, list[int]] = {}
    for job in jobs:
        match = name.fullmatch(job)
        assert match is not None, job
        if match[2] is None:
            alone.append(match[1])
        else:
            tasks.setdefault(match[1], []).append(int(match[2]))
    return alone, tasks


def tasks_text(tasks: Iterable[int]) -> str:
    """The shortest "1-4,7" for these tasks."""
    return ",".join(spans(tasks))


# Words that we write.


def counted(names: Sequence[str], what: str) -> str:
    """(["a.q", "b.q"], "queue") -> "2 queues: a.q, b.q"."""
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}: {', '.join(names)}"


def word(value: str, what: str) -> str:
    """`value`, if it is one word that every system takes as it is: printable, bounded, not empty.

    Raises SchedulerError that names `what`.
    """
    if not value:
        raise SchedulerError(f"{what} is empty")
    if len(value) > WORD_CHARS_MAX:
        raise SchedulerError(f"{what} has {len(value)} characters; {WORD_CHARS_MAX} are allowed")
    if not value.isprintable():
        shown = harmless(value, 40)
        raise SchedulerError(f"{what} holds characters that cannot be printed: {shown!r}")
    return value


class Commands:
    """Names of a system's commands, some of them renamed by the site.

    given: "sbatch" to "/opt/bin/sbatch-site", or to several words ("sudo -n sbatch"). Raises
    ValueError for a command that the system does not have, and for one that is empty.
    """

    def __init__(self, known: Sequence[str], given: Mapping[str, str]) -> None:
        self._words = {name: [name] for name in known}
        for name, words in given.items():
            if name not in self._words:
                raise ValueError(f"no command {name!r} is used here; known: {', '.join(known)}")
            self._words[name] = shlex.split(words) if len(words) <= WORD_CHARS_MAX else []
            if not self._words[name] or not words.isprintable():
                raise ValueError(f"command {name} is {harmless(words, 40)!r}: give a program")

    def programs(self) -> list[str]:
        """What is to be found in PATH, each once."""
        return list(dict.fromkeys(words[0] for words in self._words.values()))

    def argv(self, name: str, *words: str) -> list[str]:
        """The command line of `name` with these words."""
        return [*self._words[name], *words]

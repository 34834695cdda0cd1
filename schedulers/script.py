"""The job script: the few lines of sh that find a Python and become the pilot. Pure.

It goes to the submit command's stdin, holds no secret, and nothing that came with a dataset.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from schedulers import texts

_SCRIPT = """\
#!/bin/sh
{lines}PATH="${{PATH:-/usr/local/bin:/usr/bin:/bin}}"
export PATH
for python in {pythons}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' </dev/null >/dev/null 2>&1
    then
        exec "$python" {words} </dev/null
    fi
done
echo "no Python 3.6 or newer on $(uname -n), tried: "{pythons} >&2
exit 127
"""

# For a system that has only one line for it. There is no dollar sign in front of another one or of
# a bracket, so that a system with macros of its own can tell which ones are the shell's.
_LINE = (
    'PATH="${{PATH:-/usr/local/bin:/usr/bin:/bin}}"; export PATH; for python in {pythons}; do '
    "if \"$python\" -c 'import sys; sys.exit(sys.version_info < (3, 6))' "
    '</dev/null >/dev/null 2>&1; then exec "$python" {words} </dev/null; fi; done; '
    'echo "no Python 3.6 or newer on `uname -n`, tried: "{pythons} >&2; exit 127'
)


def job_script(argv: Sequence[str], *, python: str = "", lines: Sequence[str] = ()) -> bytes:
    """A script that runs Python on `argv`: the pilot and its settings file.

    python: the first Python to try, from the admin. lines: more lines for its head, also from the
    admin: directives, or commands that make the environment. Raises SchedulerError for a word or
    line that does not fit on one line.
    """
    head = [texts.word(line, "a line of the job script") for line in lines]
    return _SCRIPT.format(
        lines="".join(f"{line}\n" for line in head),
        pythons=shlex.join(_pythons(python)),
        words=shlex.join(texts.word(each, "a word of the pilot's command") for each in argv),
    ).encode()


def job_line(argv: Sequence[str], *, python: str = "") -> str:
    """What `job_script` does, for `sh -c`. Raises SchedulerError as it does."""
    words = [texts.word(each, "a word of the pilot's command") for each in argv]
    return _LINE.format(
        pythons=" ".join(map(_apart, _pythons(python))), words=" ".join(map(_apart, words))
    )


def _pythons(first: str) -> list[str]:
    """The Pythons to try, in this order."""
    return [*([texts.word(first, "python")] if first else []), "python3", "/usr/bin/python3"]


def _apart(word: str) -> str:
    """`word` quoted for sh, each dollar sign in it followed by a quote."""
    return shlex.quote(word).replace("$", "'\\$'")

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


def job_script(argv: Sequence[str], *, python: str = "", lines: Sequence[str] = ()) -> bytes:
    """A script that runs Python on `argv`: the pilot and its settings file.

    python: the first Python to try, from the admin. lines: more lines for its head, also from the
    admin: directives, or commands that make the environment. Raises SchedulerError for a word or
    line that does not fit on one line.
    """
    pythons = [texts.word(python, "python")] if python else []
    pythons += ["python3", "/usr/bin/python3"]
    head = [texts.word(line, "a line of the job script") for line in lines]
    return _SCRIPT.format(
        lines="".join(f"{line}\n" for line in head),
        pythons=shlex.join(pythons),
        words=shlex.join(texts.word(each, "a word of the pilot's command") for each in argv),
    ).encode()

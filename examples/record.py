"""Record the terminal session that the first page shows: python -m examples.record

Runs real commands against a real site in a pseudo-terminal and writes docs/session.svg.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.site import FLOE, Site, site

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "#!/bin/sh\n[ $2 = 7 ] && { echo 'GCD file not found' >&2; exit 3; }\necho $2 > out.txt\n"
COMMANDS = (
    ("submit", "--jobs", "1000", "--retry", "1", "--output", "out.txt", "--", "./sim.sh", "--seed",
     "{job}"),
    ("wait", "sim"),
    ("show", "sim"),
    ("errors", "sim"),
    ("show", "sim/417/main"),
    ("why", "sim/7/main"),
    ("fetch", "sim", "--to", "out"),
    ("verify",),
)  # fmt: skip


def in_terminal(here: Site, words: tuple[str, ...]) -> str:
    """What a command writes to a terminal, colours included."""
    chief, side = pty.openpty()
    environment = dict(here.environment, TERM="xterm-256color", COLUMNS="92", LINES="40")
    process = subprocess.Popen(
        [FLOE, *words], env=environment, cwd=here.home.parent, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    written = b""
    while True:
        try:
            part = os.read(chief, 65536)
        except OSError:  # the other side is closed: the command ended
            break
        if not part:
            break
        written += part
    process.wait()
    os.close(chief)
    lines = written.decode().replace("\r\n", "\n").split("\n")
    final = "\n".join(line.rsplit("\r", 1)[-1] for line in lines)
    return re.sub(r"\x1b\[(\?25[lh]|[0-9]*[AGK])", "", final).rstrip("\n")


def shown(words: tuple[str, ...]) -> str:
    return " ".join(f"'{word}'" if "{" in word else word for word in words)


def main() -> None:
    console = Console(record=True, width=92, file=io.StringIO())
    with site() as here:
        script = here.home.parent / "sim.sh"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        for words in COMMANDS:
            console.print(Text(f"$ floe {shown(words)}", style="bold"))
            text = in_terminal(here, words)
            if text:
                console.print(Text.from_ansi(text))
            console.print()
    target = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "session.svg"
    picture = console.export_svg(title="floe")
    fonts = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # the viewer's own will do
    target.write_text(fonts.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What people write into their datasets, on a real batch system: it reaches units, and no shell."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tests.clusters.ground import MEMORY, TIME, Camp, Ground, Kind

MARK = "zq7v"  # in every word, and in nothing that a batch system may get to see
FILE = f'{MARK} it\'s $(touch hit); %j "ü".txt'
SHOWS = (
    "import os, sys; "
    "said = ascii([sys.argv[1:], os.environ['WORDS'], os.environ['FLOE_P_words']]); "
    "open(sys.argv[1], 'w').write(said)"
)
# Keeps what the batch system is given, and passes it on.
KEEPS = """\
#!/bin/sh
cat > {folder}/stdin.$$
printf '%s\\n' "$@" > {folder}/argv.$$
exec {command} "$@" < {folder}/stdin.$$
"""


def words(canary: Path) -> list[str]:
    """Words that are something else to some shell or submit file."""
    hit = f"touch {canary}"
    found = [
        "'", '"', "it's", "a\nb", f"a\n#SBATCH --wrap={hit}", "a\n#$ -V\n#PBS -V\nqueue 9",
        f"$({hit})", f"`{hit}`", f"; {hit}", f"&& {hit}", f"| {hit}", f"\n{hit}\n",
        f"'; {hit}; '", f'"; {hit}; "', "$HOME", "$(ENV)", "$$(x)", "%j%%", "\\", "*", "~", "-x",
        "--help", "#", "a\tb", "ünï—😀", "\x1b[31m", "\u202e", "\r", "x" * 100_000,
    ]  # fmt: skip
    return [f"{MARK}{each}" for each in found]


class Hostile:
    """One life; `camp` as for Lives."""

    def test_what_people_write_reaches_their_units_and_no_shell_of_the_batch_system(
        self, camp: Camp
    ) -> None:
        desk = camp.folder("hostile")
        desk.chmod(0o777)
        canary, kept = desk / "canary", camp.folder("kept")
        given = words(canary)
        mine = recording_camp(camp.ground, kept)
        try:
            path = mine.base / "hostile.json"
            told = dataset(given, mine.disk_mb("only"), mine.python)
            path.write_text(json.dumps(told))
            mine.site.run("submit", str(path))
            mine.site.wait("hostile", 90)
            mine.site.run("fetch", "hostile", "--to", str(desk / "got"))
        except BaseException as error:
            error.add_note(mine.told())
            raise
        finally:
            mine.close()
        said = (desk / "got" / "0" / "main" / FILE).read_text()
        assert said == ascii([[FILE, *given], "".join(given[:-1]), "".join(given[:-1])])
        assert not canary.exists()
        seen = [each.read_bytes() for each in kept.iterdir() if not each.name.startswith("command")]
        assert len(seen) >= 2
        assert not any(MARK.encode() in each for each in seen)


def recording_camp(ground: Ground, folder: Path) -> Camp:
    """A node whose submissions are written to a folder."""
    submit = ground.commands[0]
    program = folder / "command"
    command = ground.command(submit)
    program.write_text(KEEPS.format(folder=shlex.quote(str(folder)), command=command))
    program.chmod(0o755)
    return Camp(ground, [Kind("only", {})], {submit: str(program)})


def dataset(given: list[str], disk_mb: int, python: str) -> dict[str, Any]:
    """One unit that shows what it was given: as words, in its environment, as a parameter."""
    text = "".join(given[:-1])  # without the longest one
    doubled = text.replace("{", "{{").replace("}", "}}")
    module = {"run": [python, "-c", SHOWS, FILE, *given], "expand": False}
    return {
        "floe": 1,
        "name": "hostile",
        "params": {"words": doubled},
        "env": {"vars": {"WORDS": doubled}},
        "needs": {"disk": f"{disk_mb}MB", "memory": MEMORY, "time": TIME},
        "task": [{"name": "main", "outputs": [FILE], "module": [module]}],
    }

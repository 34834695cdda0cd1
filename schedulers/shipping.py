"""Commands that keep files on a machine of which we know no more than that it has a POSIX sh. Pure.

Contents go over stdin and paths as words of their own: neither is ever part of a script, and no
secret is on a command line, where every user of the machine could read it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from schedulers import texts
from schedulers.base import Command, Completed, SchedulerError

PATHS_MAX = 100  # removed by one command
CONTENT_BYTES_MAX = 64 << 20
DEPTH_MIN = 2  # folders of an absolute path that may be removed: not / or /home
_ABSENT = 3  # exit status: there is no such file

# What is put there are a program that runs as the account, and a secret. So nobody else may write
# to its folder, or exchange it: an owner is told by a file of ours beside it, as user ids may look
# otherwise there than they do to us.
_PUT = """\
set -eu
umask 077
unset CDPATH
case $1 in /*) ;; *) cd ;; esac
folder=$(dirname -- "$1") name=$(basename -- "$1")
[ -d "$folder" ] || { mkdir -p -- "$folder"; chmod 700 -- "$folder"; }
cd -P -- "$folder"
[ ! -d "./$name" ] || { echo "it is a folder" >&2; exit 1; }
part=./$name.$4.part
trap 'rm -f -- "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
set -C
: >"$part"
refuse() { echo "$1: $2" >&2; exit 1; }
fact() { ls -ldn -- "$1" | { read -r mode links owner rest; echo "$mode $owner"; }; }
mine=$(fact "$part") here=$(fact .)
[ "${mine#* }" = "${here#* }" ] || refuse "$folder" "the folder is somebody else's"
case $here in
    ?????w* | ????????w*) refuse "$folder" "others may write to the folder: chmod go-w" ;;
esac
(
    while [ "$(pwd -P)" != / ]; do
        cd -P ..
        case $(fact .) in
            ????????w[!tT]*) refuse "$(pwd -P)" "anybody may put another folder in its place" ;;
        esac
    done
)
cat >>"$part"
size=$(wc -c <"$part")
[ "$size" -eq "$3" ] || { echo "$size of $3 bytes were written" >&2; exit 1; }
chmod -- "$2" "$part"
mv -f -- "$part" "./$name"
"""
_GET = """\
set -u
case $1 in /*) ;; *) cd || exit 1 ;; esac
[ -e "$1" ] || [ -L "$1" ] || exit 3
[ -f "$1" ] || { echo "it is no regular file" >&2; exit 1; }
exec tail -c "$2" -- "$1"
"""
_REMOVE = """\
cd || exit 1
exec rm -rf -- "$@"
"""


def home() -> Command:
    """Prints the home folder."""
    return _sh("cd && pwd")


def home_of(done: Completed, where: str) -> str:
    """The answer to `home`. Raises SchedulerError if there is no such folder."""
    text = texts.whole(done, f"{where}: home folder").strip("\n")
    if not text.startswith("/") or not text.isprintable():
        raise SchedulerError(f"{where}: the home folder is {texts.harmless(text, 80)!r}")
    return text


def put(path: str, content: bytes, mode: int) -> Command:
    """Writes a file beside its place and renames it when all of it has come."""
    if len(content) > CONTENT_BYTES_MAX:
        raise SchedulerError(f"{path}: {len(content)} bytes; {CONTENT_BYTES_MAX} are allowed")
    words = (f"{mode:03o}", str(len(content)), secrets.token_hex(8))
    return _sh(_PUT, texts.word(path, "a path"), *words, stdin=content)


def get(path: str, bytes_max: int) -> Command:
    """Prints the end of a file."""
    return _sh(_GET, texts.word(path, "a path"), str(bytes_max))


def got(done: Completed, bytes_max: int, what: str) -> bytes | None:
    """The answer to `get`; None if there is no such file. Raises SchedulerError."""
    if done.status == _ABSENT and not done.out:
        return None
    if done.status != 0 or done.cut:
        raise SchedulerError(f"{what}: {texts.complaint(done)}")
    return done.out[-bytes_max:]


def remove(paths: Sequence[str]) -> Command:
    """Removes files, and folders with all that is in them. Raises SchedulerError for a wide one."""
    return _sh(_REMOVE, *(_removable(path) for path in paths))


def done(done: Completed, what: str) -> None:
    """Raises SchedulerError if a command failed."""
    if done.status != 0:
        raise SchedulerError(f"{what}: {texts.complaint(done)}")


def _removable(path: str) -> str:
    """`path`, if a mistake elsewhere cannot have made it somebody's home or a whole disk."""
    parts = [part for part in texts.word(path, "a path").split("/") if part]
    deep = len(parts) > DEPTH_MIN if path.startswith("/") else bool(parts)
    if not deep or {".", "..", "~"} & set(parts):
        raise SchedulerError(f"{path!r} is not removed: it is no file or folder of one purpose")
    return path


def _sh(script: str, *words: str, stdin: bytes = b"") -> Command:
    return Command(["/bin/sh", "-c", script, "floe", *words], stdin)

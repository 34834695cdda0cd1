"""The verb doctor: what is wrong on this machine, and what to do."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from node.cli.command import Floe, json_option, pass_floe, verb
from node.cli.failures import ERROR, OK
from node.cli.output import (
    duration,
    harmless,
    print_json,
    say_marked,
    say_wrapped,
    size,
    styled,
)
from node.client import ClientError

FREE_BYTES_LOW = 2 * 10**9
CLOCK_OFF_S_MAX = 60.0
TROUBLED = ("no answer", "stopped")  # states of a batch system, by the node


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: "ok", "warn" or "FAIL", what was found, what to do."""

    what: str
    result: str
    detail: str = ""
    right: str = ""


Check = Callable[[Floe], Iterator[Finding]]


@verb("doctor", examples=["floe doctor", "floe doctor --json"])
@json_option
@pass_floe
def doctor_verb(floe: Floe) -> int:
    """Look for what is wrong: programs, keys, home, disk, batch systems, node, clock.

    Exit status 1 when something fails.
    """
    findings = [finding for check in CHECKS for finding in _guarded(check, floe)]
    failed = any(finding.result == "FAIL" for finding in findings)
    if floe.as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
    return ERROR if failed else OK


def _guarded(check: Check, floe: Floe) -> Iterator[Finding]:
    """A check that itself breaks is a finding, and hides no other."""
    what = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(floe)
    except ClientError as error:
        yield Finding(what, "FAIL", error.message, error.right)
    except OSError as error:
        yield Finding(what, "FAIL", str(error))


def _print(finding: Finding) -> None:
    style = {"ok": "green", "warn": "yellow"}.get(finding.result, "bold red")
    line = styled(f"  {finding.what:<22} ")
    line.append(f"{finding.result:<5}", style=style)
    line.append(" ")
    say_marked(line, finding.detail, 4)
    if finding.right:
        say_wrapped(f"  → {harmless(finding.right)}", "    ")


def _programs(_floe: Floe) -> Iterator[Finding]:
    yield Finding("python", "ok", sys.version.split()[0])
    path = shutil.which("ssh-keygen")
    if path is None:
        yield Finding("ssh-keygen", "FAIL", "not found", "install OpenSSH, 8.1 or later")
        return
    done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)
    yield Finding(
        "ssh-keygen", "ok", (done.stderr or done.stdout).strip().partition(",")[0] or path
    )


def _home(floe: Floe) -> Iterator[Finding]:
    home = floe.home.path
    if not home.exists():
        yield Finding("home", "warn", f"{home} does not exist", "floe init --name NAME")
        return
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        yield Finding("home", "FAIL", f"{home} is open to others ({mode:o})", f"chmod 700 {home}")
    else:
        yield Finding("home", "ok", str(home))
    free = shutil.disk_usage(home).free
    low = free < FREE_BYTES_LOW
    right = "make room: the node takes nothing new when its disk is full" if low else ""
    yield Finding("disk", "warn" if low else "ok", f"{size(free)} free", right)


def _configuration(floe: Floe) -> Iterator[Finding]:
    from node.config import ConfigError, load

    if not floe.home.exists():
        return
    try:
        load(floe.home.config)
        yield Finding("config.toml", "ok")
    except ConfigError as error:
        yield Finding("config.toml", "FAIL", str(error), f"correct {floe.home.config}")


def _batch_systems(floe: Floe) -> Iterator[Finding]:
    """What each of them says of config.toml, and what the node has from it."""
    from node.cli.trying import ask_systems
    from node.config import ConfigError, load
    from node.provisioning.findings import Verdict

    try:
        config = load(floe.home.config)
    except ConfigError:
        return  # told already
    results = {Verdict.FINE: "ok", Verdict.REFUSED: "FAIL"}
    for each in ask_systems(floe.home) if config.systems else []:
        result = results.get(each.verdict, "warn")
        yield Finding(each.place, result, f"{each.step}: {each.words}", each.right)


def _user_key(floe: Floe) -> Iterator[Finding]:
    from keys.signing import BadKey
    from keys.sshsig import PublicKey

    signer = floe.signer()
    try:
        key = PublicKey.parse(signer.public_line())
    except BadKey as error:
        yield Finding(
            "your key", "FAIL", f"{signer.path}: {error}", "floe --key FILE names another"
        )
        return
    yield Finding("your key", "ok", f"{key.fingerprint()} {signer.path}")
    began = time.monotonic()
    signer.sign(b"floe doctor")
    yield Finding("signing with it", "ok", duration(time.monotonic() - began))


def _node(floe: Floe) -> Iterator[Finding]:
    client = floe.client()
    began = time.monotonic()
    answer = client.ping()
    took_ms = 1000 * (time.monotonic() - began)
    where = client.endpoint()
    yield Finding("node", "ok", f"{where.url}, version {answer.get('version')}, {took_ms:.0f} ms")
    off_s = abs(float(answer.get("now_ms") or 0) / 1000 - time.time())
    late = off_s > CLOCK_OFF_S_MAX
    right = "set the clocks: shown times are wrong, nothing else" if late else ""
    yield Finding("clock against node", "warn" if late else "ok", f"{duration(off_s)} apart", right)
    status = client.get("/v1/status")
    yield Finding("login", "ok")
    for warning in status.get("warnings") or []:
        yield Finding("the node says", "warn", str(warning))
    said = " ".join(map(str, status.get("warnings") or []))
    for system in (client.get("/v1/site").get("site") or {}).get("batch") or []:
        if system.get("state") in TROUBLED and f"site.{system.get('name')}:" not in said:
            words = f"{system['state']}: {system.get('trouble') or 'no reason is known'}"
            yield Finding(f"pilots of {system.get('name')}", "warn", words, "floe site show")


def _isolation(_floe: Floe) -> Iterator[Finding]:
    """Whether pilots on this machine can hide the home from what they run."""
    argv = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "true"]
    if shutil.which(argv[0]) is None:
        yield Finding("user namespaces", "warn", "not tried: no program unshare")
        return
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode == 0:
        yield Finding("user namespaces", "ok", "payloads here cannot see the node's home")
        return
    yield Finding(
        "user namespaces",
        "warn",
        "not allowed here: a payload runs with all your files in reach",
        "sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns",
    )


def _files(_floe: Floe) -> Iterator[Finding]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = hard != resource.RLIM_INFINITY and hard < 4096
    right = "ulimit -n: each pilot needs two" if few else ""
    yield Finding("open files", "warn" if few else "ok", f"{soft:,} (at most {hard:,})", right)
    scratch = Path(os.environ.get("TMPDIR", "/tmp"))
    writable = os.access(scratch, os.W_OK)
    yield Finding(
        "scratch", "ok" if writable else "FAIL", f"{scratch}", "" if writable else "set TMPDIR"
    )


CHECKS: tuple[Check, ...] = (
    _programs,
    _home,
    _files,
    _configuration,
    _batch_systems,
    _user_key,
    _isolation,
    _node,
)

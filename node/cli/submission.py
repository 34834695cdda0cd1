"""From a file or a command line to a signed dataset at a node; also its plan and its rehearsal."""

from __future__ import annotations

import base64
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.command import Floe
from node.cli.failures import OK, WORK_FAILED, Failed, Problems
from node.cli.output import (
    console,
    duration,
    harmless,
    note,
    plural,
    print_json,
    say,
    say_wrapped,
    size,
    styled,
)
from node.client import Client, Json, Refused, path_of

if TYPE_CHECKING:
    from node.model.document import Draft, Submission
    from node.model.problems import Invalid
    from node.model.rules import Foreign

NOTHING_SUBMITTED = "nothing was submitted"
MISSING_DIGESTS_MAX = 5000  # asked at once
_FLAGS = {"files": "file", "outputs": "output"}  # options that may stand more than once
BIG_UPLOAD_BYTES = 4_000_000  # from here on an upload shows its progress


@dataclass(frozen=True, slots=True)
class Source:
    """What was given: a FILE, or a command after "--", with the options of a one-liner."""

    file: str | None
    argv: list[str] | None
    options: Mapping[str, Any]

    def given_options(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.options.items() if value is not None and value != ()
        }


def load(source: Source, outcome: str = "") -> Draft:
    """The description as read. Raises Problems where it cannot be parsed at all."""
    from node.model.problems import Invalid

    try:
        return _load(source)
    except Invalid as error:
        raise problems(error, outcome) from None


def problems(error: Invalid, outcome: str = "") -> Problems:
    """What is wrong with a description, as a failure; outcome: what it means for the command."""
    count = plural(len(error.errors), "problem")
    told = ", ".join(word for word in (f"{error.source}: {count}", outcome) if word)
    return Problems(told, [problem.json() for problem in error.errors])


def _load(source: Source) -> Draft:
    from node.model import document

    if (source.file is None) == (source.argv is None):
        raise click.UsageError('give a FILE, or a command after "--"')
    if source.argv is not None:
        return document.load(compiled(source), Path.cwd())
    assert source.file is not None
    if given := source.given_options():
        flags = ", ".join(f"--{_FLAGS.get(name, name)}" for name in given)
        raise click.UsageError(f"{flags}: only with a command; with a FILE, write it in the file")
    if source.file == "-":
        return document.load(_standard_input(), Path.cwd())
    path = Path(source.file)
    if not path.exists():
        raise Failed(f"there is no file {harmless(path)}", f"to run a command: floe … -- {path}")
    if _is_script(path):
        right = f"to run it: floe … -- {path if '/' in str(path) else f'./{path}'}"
        raise Failed(f"{harmless(path)} is a program, not a description", right)
    return document.load(path, path.parent)


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _standard_input() -> str:
    from node.model.description import TEXT_BYTES_MAX

    content = sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
    if len(content) > TEXT_BYTES_MAX:
        raise Failed(f"the description is larger than {size(TEXT_BYTES_MAX)}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failed(f"the description is not UTF-8 (byte {error.start})") from None


def compiled(source: Source) -> dict[str, Any]:
    """The description that a command line stands for."""
    from node.model.oneliner import from_command

    if not source.argv:
        raise click.UsageError('there is no command after "--"')
    return from_command(source.argv, **source.given_options())


def printed(source: Source) -> str:
    """The description as TOML, to start a file from."""
    from node.model.oneliner import as_toml

    if source.argv is None:
        raise click.UsageError('--print goes with a command after "--"')
    rehearsed(load(source))  # so that nothing wrong is printed
    return str(as_toml(compiled(source))).rstrip()


def submit(floe: Floe, draft: Draft, wait_stored: int | None = None) -> int:
    """Send files, sign, submit, and say where it is stored; the exit status.

    wait_stored: on how many sites it shall be; on fewer is a failure, though it is submitted.
    """
    began = time.monotonic()
    made = build(draft, floe.client())
    reply, sent = submit_built(floe, made, wait_stored)
    took_s = time.monotonic() - began
    few = len(reply.get("stored_on") or []) < (wait_stored or 0)
    if floe.as_json:
        print_json(reply)
        return int(few)
    for line in submitted_lines(reply, floe.signer().public_line(), sent, took_s):
        say(line)
    told = [warning.json() for warning in made.warnings] + list(reply.get("warnings") or [])
    for warning in told:
        _print_warning(warning)
    if few:
        note(
            f"it is submitted, but not stored on {wait_stored} sites yet: floe mesh shows who is"
            " away; others come to keep it by themselves"
        )
    return int(few)


def submit_built(floe: Floe, made: Submission, wait_stored: int | None = None) -> tuple[Json, int]:
    """Send files, sign and submit; gives the reply and the bytes of files that were sent."""
    floe.endpoint()  # without a site, that is what is missing, not a key
    client = floe.client()
    sent = send_blobs(client, made.blobs) if made.blobs else 0
    signature = floe.signer().sign(made.document)
    signed: Json = {
        "document": base64.b64encode(made.document).decode(),
        "signature": base64.b64encode(signature).decode(),
    }
    if wait_stored is not None:
        signed["wait_stored"] = wait_stored
    return client.post_once("/v1/datasets", signed), sent


def submitted_lines(reply: Mapping[str, Any], key_line: str, sent: int, took_s: float) -> list[str]:
    """nugen-26   25,000 jobs × 2 tasks = 50,000 units   signed by …k3Qx"""
    name = harmless((reply.get("dataset") or {}).get("name", "?"))
    jobs, tasks = int(reply.get("jobs") or 0), int(reply.get("tasks") or 1)
    work = f"{plural(jobs, 'job')} × {plural(tasks, 'task')}"
    if tasks > 1:
        work += f" = {plural(int(reply.get('units') or 0), 'unit')}"
    stored = ", ".join(harmless(site) for site in reply.get("stored_on") or []) or "?"
    files = f", {size(sent)} of files sent" if sent else ""
    key = f"ssh ed25519 …{key_line.split()[1][-4:]}" if " " in key_line else "your key"
    return [
        f"{name}   {work}   signed with {key}",
        f"stored on {stored} in {duration(took_s)}{files}   watch: floe watch {name}",
    ]


def build(draft: Draft, client: Client | None) -> Submission:
    """The bytes to sign and the files they name; other datasets are looked up at the node."""
    from node.model.problems import Invalid

    try:
        return draft.build(None if client is None else partial(look_up, client))
    except Invalid as error:
        raise problems(error, NOTHING_SUBMITTED) from None


def rehearsed(draft: Draft) -> Submission:
    """What would be signed; other datasets are taken as they are named."""
    from node.model.problems import Invalid

    try:
        return draft.rehearse()
    except Invalid as error:
        raise problems(error) from None


def look_up(client: Client, name: str) -> Foreign:
    """Another dataset, as the node knows it. Raises LookupError with a sentence."""
    from node.model.rules import Foreign

    try:
        reply = client.get(path_of("datasets", name))
    except Refused as error:
        if error.status != 404:
            raise
        raise LookupError(error.message) from None
    found = reply.get("dataset") or {}
    return Foreign(
        bytes.fromhex(str(found.get("id"))),
        int(found.get("jobs") or 0),
        tuple(str(task.get("name")) for task in reply.get("tasks") or []),
    )


def send_blobs(client: Client, blobs: Mapping[bytes, Path | bytes]) -> int:
    """Send what the node lacks; gives the number of bytes sent."""
    named = {digest.hex(): blob for digest, blob in blobs.items()}
    digests = list(named)
    missing: list[str] = []
    for start in range(0, len(digests), MISSING_DIGESTS_MAX):
        asked = {"digests": digests[start : start + MISSING_DIGESTS_MAX]}
        missing += client.post("/v1/blobs/missing", asked).get("missing") or []
    total = sum(_size(named[digest]) for digest in missing)
    if total < BIG_UPLOAD_BYTES or not sys.stderr.isatty():
        for digest in missing:
            client.put_blob(digest, named[digest])
        return total
    from rich.progress import track

    for digest in track(missing, "sending files", console=console(stderr=True), transient=True):
        client.put_blob(digest, named[digest])
    return total


def _size(blob: Path | bytes) -> int:
    return len(blob) if isinstance(blob, bytes) else blob.stat().st_size


def _print_warning(warning: object) -> None:
    if not isinstance(warning, Mapping):
        say_wrapped(f"! {harmless(warning)}", tell=note)
        return
    words = [warning.get("where"), warning.get("what"), warning.get("right")]
    say_wrapped("! " + "  ".join(harmless(word) for word in words if word), tell=note)


def plan(floe: Floe, draft: Draft, job: int | None) -> None:
    """Show what would run."""
    from node.model.plan import plan_json, plan_text
    from node.model.problems import Invalid

    try:
        if floe.as_json:
            print_json(plan_json(draft, job))
        else:
            say(plan_text(draft, job))
    except Invalid as error:
        raise problems(error) from None


def test(floe: Floe, draft: Draft, job: int, to: Path | None) -> int:
    """Run one job here; the exit status."""
    import shutil

    from node.model.plan import rehearsal
    from node.model.problems import Invalid
    from pilot.offline import run_job

    made = rehearsed(draft)
    try:
        told = rehearsal(draft, made.spec, job)
    except Invalid as error:
        raise problems(error) from None
    out = to or Path(tempfile.mkdtemp(prefix="floe-test-"))
    files = Path(tempfile.mkdtemp(prefix="floe-files-"))
    events: list[dict[str, Any]] = []

    def on_event(event: dict[str, Any]) -> None:
        events.append(event)
        if not floe.as_json:
            _print_event(event)

    try:
        for digest, blob in made.blobs.items():
            content = blob if isinstance(blob, bytes) else blob.read_bytes()
            (files / digest.hex()).write_bytes(content)
        status = run_job(told, job, str(files), str(out), on_event)
    except OSError as error:
        raise Failed(f"job {job} cannot be run here: {error}") from None
    finally:
        shutil.rmtree(files, ignore_errors=True)
    if floe.as_json:
        print_json({"ok": status == 0, "job": job, "to": str(out), "events": events})
    else:
        _print_results(out / str(job), job, status == 0)
    return OK if status == 0 else WORK_FAILED


def _print_results(folder: Path, job: int, ok: bool) -> None:
    say(f"job {job} {'ran to its end' if ok else 'failed'}: {folder}")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        say(f"  {harmless(path.relative_to(folder))}  {size(path.stat().st_size)}")


def _print_event(event: Mapping[str, Any]) -> None:
    if event.get("event") == "started":
        return
    line = styled(f"  {event.get('task', ''):<12} ", "bold")
    failed = bool(event.get("error")) or event.get("event") == "skipped"
    line.append(harmless(event.get("text") or ""), style="red" if failed else "green")
    if "cpu_ms" in event:
        memory = size(1024 * int(event.get("memory_kib") or 0))
        line.append(f"   CPU {duration(event['cpu_ms'] / 1000)}, {memory}", style="dim")
    console().print(line, soft_wrap=True)

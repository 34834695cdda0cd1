"""Verbs about whole datasets: sets, and set with its orders."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from node.cli.command import Floe, json_option, pass_floe, sure, verb, verb_group
from node.cli.failures import Failed
from node.cli.names import DATASET, JOBS, Name, jobs_text
from node.cli.output import harmless, moment, note, number, plural, print_json, say, state, table
from node.cli.summary import counts_of, nothing_moves, one_line
from node.client import Json, path_of

LIMIT = 50
Verb = TypeVar("Verb", bound=Callable[..., Any])


@verb("sets", examples=["floe sets", "floe sets --mine --limit 20", "floe sets --json"])
@click.option("--mine", is_flag=True, help="Only yours.")
@click.option(
    "--limit", default=LIMIT, show_default=True, type=click.IntRange(1, 10_000), help="At most N."
)
@click.option("--before", metavar="CURSOR", help='Go on from the "next" of an earlier listing.')
@json_option
@pass_floe
def sets_verb(floe: Floe, mine: bool, limit: int, before: str | None) -> None:
    """List datasets, newest first."""
    query = {"mine": 1 if mine else None, "limit": limit, "before": before}
    reply = floe.client().get("/v1/datasets", query)
    if floe.as_json:
        print_json(reply)
        return
    datasets = [item for item in reply.get("datasets") or [] if isinstance(item, dict)]
    if not datasets:
        say("no datasets yet: floe submit --jobs 10 -- echo 'job {job}'")
        return
    table(
        ["NAME", "BY", "STATE", ">JOBS", ">UNITS", ">SETTLED", ">RUNNING", ">FAILED", "SUBMITTED"],
        [_set_row(dataset) for dataset in datasets],
    )
    if reply.get("next") is not None:
        same = f"{'--mine ' if mine else ''}{f'--limit {limit} ' if limit != LIMIT else ''}"
        note(f"      more: floe sets {same}--before {harmless(reply['next'])}")


def _set_row(dataset: Json) -> list[object]:
    counts = counts_of(dataset)
    return [
        dataset.get("name", "?"),
        dataset.get("user", "?"),
        state(dataset.get("state", "?")),
        number(dataset.get("jobs")),
        number(counts["units"]),
        number(counts["settled"]),
        number(counts["running"]),
        number(counts["failed"]),
        moment(dataset.get("submitted_ms")),
    ]


@verb_group(
    "set",
    examples=["floe set pause nugen-26", "floe set retry nugen-26", "floe set show nugen-26"],
)
def set_verb() -> None:
    """Show a dataset's description, or give an order about it: signed by you, in force in seconds.

    Only the person who submitted a dataset, or an admin, may give orders about it.
    """


@set_verb.command(
    "show",
    examples=["floe set show nugen-26", "floe set show nugen-26 --save signed/"],
)
@click.argument("dataset", type=DATASET)
@click.option("--document", is_flag=True, help="The signed bytes, exactly.")
@click.option(
    "--save",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write document and signature there, for ssh-keygen -Y verify.",
)
@json_option
@pass_floe
def set_show(floe: Floe, dataset: Name, document: bool, save: Path | None) -> None:
    """Show the description of DATASET as it was signed."""
    reply = floe.client().get(path_of("datasets", dataset.dataset, "document"))
    signed = base64.b64decode(str(reply.get("document", "")))
    if save is not None:
        _save_signed(save, dataset.dataset, signed, reply)
        return
    if document:
        sys.stdout.buffer.write(signed)
        sys.stdout.flush()
        return
    description = json.loads(signed)
    if floe.as_json:
        print_json({**reply, "description": description.get("description")})
    else:
        say(json.dumps(description.get("description"), indent=2, ensure_ascii=True))


def _save_signed(folder: Path, name: str, signed: bytes, reply: Json) -> None:
    from keys.signing import BadSignature
    from keys.sshsig import NAMESPACE, armor, verify

    signature = base64.b64decode(str(reply.get("signature", "")))
    try:
        key = verify(signed, signature)
    except BadSignature as error:
        raise Failed(f"the signature of {harmless(name)} does not hold: {error}") from None
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    user = "".join(c for c in str(reply.get("user") or "signer") if c.isalnum() or c in "._-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{plain}.json").write_bytes(signed)
    (folder / f"{plain}.json.sig").write_text(armor(signature))
    (folder / "signers").write_text(f'{user} namespaces="{NAMESPACE}" {key.line()}\n')
    say(f"cd {folder} && ssh-keygen -Y verify -f signers -I {user} -n {NAMESPACE} \\")
    say(f"    -s {plain}.json.sig < {plain}.json")


def units_of_dataset(fn: Verb) -> Verb:
    """The dataset whose units an order is about, and which of them."""
    jobs = click.option(
        "--jobs", type=JOBS, metavar="RANGES", help="Only these jobs: 7, 0-99, 5,8."
    )
    tasks = click.option(
        "--task", "tasks", multiple=True, metavar="TASK", help="Only units of this task."
    )
    return click.argument("dataset", type=DATASET)(tasks(jobs(fn)))


@set_verb.command("pause", examples=["floe set pause nugen-26"])
@click.argument("dataset", type=DATASET)
@json_option
@pass_floe
def set_pause(floe: Floe, dataset: Name) -> None:
    """Start nothing more of DATASET; what runs is finished."""
    _order(floe, dataset, "pause", {}, "paused; floe set resume goes on")


@set_verb.command("resume", examples=["floe set resume nugen-26"])
@click.argument("dataset", type=DATASET)
@json_option
@pass_floe
def set_resume(floe: Floe, dataset: Name) -> None:
    """Go on with DATASET after a pause."""
    _order(floe, dataset, "resume", {}, "goes on")


@set_verb.command(
    "cancel", examples=["floe set cancel nugen-26", "floe set cancel last --jobs 0-9"]
)
@units_of_dataset
@click.option("--yes", is_flag=True, help="Do not ask; a script has to say it.")
@json_option
@pass_floe
def set_cancel(
    floe: Floe, dataset: Name, tasks: tuple[str, ...], jobs: list[int] | None, yes: bool
) -> None:
    """Stop units of DATASET, running ones within seconds; what settled stays."""
    whole = not tasks and not jobs
    if whole:
        sure(f"cancel all of {harmless(dataset.dataset)} that has not settled?", yes)
    chosen = _selection(tasks, jobs)
    _order(floe, dataset, "cancel", chosen, "cancelled", "cancelled", _chosen(tasks, jobs))


@set_verb.command(
    "retry",
    examples=["floe set retry nugen-26", "floe set retry nugen-26 --task reco --jobs 903"],
)
@units_of_dataset
@json_option
@pass_floe
def set_retry(floe: Floe, dataset: Name, tasks: tuple[str, ...], jobs: list[int] | None) -> None:
    """Give failed units of DATASET their retries again; cancelled ones stay cancelled."""
    chosen = _selection(tasks, jobs)
    _order(floe, dataset, "retry", chosen, "tried again", "failed", _chosen(tasks, jobs))


@set_verb.command("renew", examples=["floe set renew nugen-26 --task sim --jobs 417"])
@units_of_dataset
@json_option
@pass_floe
def set_renew(floe: Floe, dataset: Name, tasks: tuple[str, ...], jobs: list[int] | None) -> None:
    """Let outputs count that were lost, made again, and came out otherwise.

    What read the lost ones runs again, and what comes of that, where it comes out otherwise, too.
    Units whose outputs are as they were stay as they are. floe why names what this is for.
    """
    told = "goes on with the outputs that were made last"
    _order(floe, dataset, "renew", _selection(tasks, jobs), told, part=_chosen(tasks, jobs))


@set_verb.command(
    "edit",
    examples=[
        "floe set edit nugen-26 --task reco --memory 16GB",
        "floe set edit nugen-26 --priority 80",
    ],
)
@click.argument("dataset", type=DATASET)
@click.option("--task", "tasks", multiple=True, metavar="TASK", help="Whose needs. Default: all.")
@click.option("--cpu", type=click.IntRange(1), help="CPUs of a unit.")
@click.option("--gpu", type=click.IntRange(0), help="GPUs of a unit.")
@click.option("--memory", metavar="SIZE", help="As 2GB or 2GiB.")
@click.option("--disk", metavar="SIZE", help="Scratch, inputs included.")
@click.option("--time", metavar="TIME", help="Wall time, as 90s, 30m, 4h or 2d.")
@click.option("--priority", type=click.IntRange(0, 100), help="Within your share, default 50.")
@json_option
@pass_floe
def set_edit(
    floe: Floe, /, dataset: Name, tasks: tuple[str, ...], priority: int | None, **needs: Any
) -> None:
    """Change what units of DATASET need, or its priority.

    It binds units that have not started; results under the old needs count.
    """
    from node.cli.edits import needs_of

    client = floe.client()
    changed = needs_of(needs)
    if not changed and priority is None:
        raise click.UsageError("say what to change: --memory, --time, --priority, …")
    args: dict[str, Any] = {}
    if changed:
        known = client.get(path_of("datasets", dataset.dataset)).get("tasks") or []
        names = tasks or tuple(str(task.get("name")) for task in known)
        args["needs"] = dict.fromkeys(names, changed)
    if priority is not None:
        args["priority"] = priority
    _order(floe, dataset, "edit", args, "changed, for units that have not started")


@set_verb.command("extend", examples=["floe set extend nugen-26 --jobs 1000"])
@click.argument("dataset", type=DATASET)
@click.option(
    "--jobs", "more", required=True, type=click.IntRange(1), metavar="N", help="So many more jobs."
)
@json_option
@pass_floe
def set_extend(floe: Floe, dataset: Name, more: int) -> None:
    """Append N jobs (per matrix cell and row) to DATASET; nothing is renumbered."""
    _order(floe, dataset, "extend", {"jobs": more}, f"has {plural(more, 'more job', 'more jobs')}")


def _selection(tasks: tuple[str, ...], jobs: list[int] | None) -> dict[str, Any]:
    selection: dict[str, Any] = {}
    if tasks:
        selection["tasks"] = list(tasks)
    if jobs:
        selection["jobs"] = jobs
    return {"select": selection} if selection else {}


def _chosen(tasks: tuple[str, ...], jobs: list[int] | None) -> str:
    """Of which part of a dataset an order is: ", jobs 10-1000", or "" for all of it."""
    words = f", task {', '.join(tasks)}" if tasks else ""
    if not jobs:
        return words
    one = len(jobs) == 2 and jobs[1] == jobs[0] + 1
    return f"{words}, job{'' if one else 's'} {jobs_text(jobs)}"


def _order(
    floe: Floe,
    dataset: Name,
    order: str,
    args: Mapping[str, Any],
    told: str,
    moves: str | None = None,
    part: str = "",
) -> None:
    """Sign an order about a dataset, send it, and say what it did.

    moves: the count that changes if there was anything to do. part: of which part it was.
    """
    from node.cli.submission import problems
    from node.model.commands import command_document
    from node.model.problems import Invalid

    client = floe.client()
    shown = client.get(path_of("datasets", dataset.dataset))
    found = shown.get("dataset") or {}
    follows = [bytes.fromhex(str(head)) for head in shown.get("commands") or []]
    try:
        document = command_document(bytes.fromhex(str(found.get("id", ""))), order, args, follows)
    except Invalid as error:
        raise problems(error) from None
    signature = floe.signer().sign(document)
    reply = client.post_once(
        "/v1/commands",
        {
            "document": base64.b64encode(document).decode(),
            "signature": base64.b64encode(signature).decode(),
        },
    )
    if floe.as_json:
        print_json(reply)
        return
    name = harmless(found.get("name", dataset.dataset))
    if reply.get("applied") is False:
        say(f"{name}: the order is kept here, and not applied yet")
        note("the site that leads it could not be asked; it takes the order once it can: floe mesh")
        return
    before, after = (counts_of(each).get(moves or "") for each in (shown, reply))
    if moves and before == after:
        told = f"is as it was: nothing there could be {told}"
    if order in ("pause", "resume") and nothing_moves(counts_of(reply)):
        ended = "all of it has ended"
        told = f"paused, though {ended}" if order == "pause" else f"cannot go on: {ended}"
    say(f"{name}{harmless(part)} {told}")
    if reply.get("counts"):
        say(f"  {one_line({'dataset': {'name': name}, **reply})}")

"""Verbs against a fake node: what they print, what they send, how they exit."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from node.cli import waiting
from node.home import Home
from tests.fakes.api_server import ZERO, FakeNode, Refuse, Request
from tests.unit.node.cli.conftest import Floe

HOSTILE = "\x1b]0;owned\x07[red]x[/red]"


def unit_reply(**more: Any) -> dict[str, Any]:
    attempt = {
        "number": 1,
        "site": "desy",
        "host": "a17",
        "start_ms": 1_790_000_000_000,
        "wall_s": 12.0,
        "cpu_s": 11.0,
        "memory_bytes": 2_100_000,
        "exit": 3,
        "outcome": "payload",
        "error": "exit",
        "tail": f"reading\n{HOSTILE}\n",
        "accepted": True,
        "duplicate": False,
        "outputs": [{"path": "a.npz", "digest": "00", "size": 10}],
    }
    second = {**attempt, "number": 2, "outcome": "success", "error": "", "exit": 0, "tail": ""}
    unit = {"dataset": "nugen-26", "job": 417, "task": "reco", "state": "settled", **more}
    return {"unit": unit, "attempts": [attempt, second], "live": None}


# --- looking


def test_status_json_has_what_scripts_rely_on(floe: Floe, node: FakeNode) -> None:
    node.replies["/v1/status"] = {"pid": 7, "site": {"name": "desy"}, "api": "https://x"}
    shown = floe("status", "--json").json()
    assert (shown["schema"], shown["pid"], shown["api"]) == (1, 7, "https://x")
    assert shown["site"]["name"] == "desy"


def test_status_for_people_shows_warnings(floe: Floe, node: FakeNode) -> None:
    node.replies["/v1/status"] = {
        "pid": 7,
        "site": {"name": "desy", "key": "abcdefghij"},
        "api": "https://x",
        "version": "0.1.0",
        "uptime_s": 7860,
        "datasets": 3,
        "units": {"units": 10, "running": 4},
        "pilots": {"running": 2, "idle": 0},
        "disk": {"free_bytes": 2_000_000_000},
        "warnings": [f"no pilots {HOSTILE}"],
    }
    shown = floe("status")
    assert shown.status == 0
    assert "desy·abcdefgh  up 2h11m" in shown.out
    assert "free 2 GB" in shown.out
    assert "! no pilots" in shown.out
    assert "\x1b" not in shown.out


def test_show_of_a_dataset_has_the_counts(floe: Floe, node: FakeNode) -> None:
    node.dataset("nugen-26", 10, ["sim", "reco"], settled=13, running=2, failed=5)
    counts = floe("show", "nugen-26", "--json").json()["counts"]
    assert set(counts) == set(ZERO)
    assert counts["settled"] == 13
    text = floe("show", "nugen-26").out
    assert "nugen-26" in text
    assert "65 %" in text
    assert "5 failed: floe errors nugen-26" in text


def test_show_tells_of_orders_without_effect(floe: Floe, node: FakeNode) -> None:
    node.dataset("nugen-26", 10, ["sim"])
    reply = floe("show", "nugen-26", "--json").json()
    reply["orders"] = [
        {"id": "ab", "verb": "cancel", "state": "refused", "why": f"taken before {HOSTILE}"},
        {"id": "cd", "verb": "pause", "state": "kept", "why": ""},
    ]
    node.replies["/v1/datasets/nugen-26"] = reply
    text = floe("show", "nugen-26").out
    assert "order cancel was refused: taken before" in text
    assert "order pause is kept, and not applied yet" in text
    assert "\x1b" not in text


def test_a_job_that_is_not_there_is_not_found(floe: Floe, node: FakeNode) -> None:
    node.dataset("a", 8, ["sim"])
    node.replies["/v1/datasets/a/jobs"] = {"units": [], "next": None}
    shown = floe("show", "a/9")
    assert (shown.status, shown.out) == (4, "")
    assert "a has no job 9" in shown.err
    assert "its jobs are 0 to 7" in shown.err


def test_an_attempt_that_was_ended_shows_no_exit_status(floe: Floe, node: FakeNode) -> None:
    reply = unit_reply()
    reply["attempts"][0] |= {"exit": 0, "outcome": "resources", "error": "memory", "tail": ""}
    node.replies["/v1/units/nugen-26/417/reco"] = reply
    lines = [line.split() for line in floe("show", "nugen-26/417/reco").out.splitlines()]
    ended, good = (line for line in lines if line[0][0] == "#" and "desy" in line)
    assert ended[-3:] == ["-", "memory,", "accepted"]
    assert good[-2:] == ["0", "accepted"]


def test_show_of_a_unit_has_every_attempt(floe: Floe, node: FakeNode) -> None:
    node.replies["/v1/units/nugen-26/417/reco"] = unit_reply()
    shown = floe("show", "nugen-26/417/reco", "--json").json()
    assert [attempt["number"] for attempt in shown["attempts"]] == [1, 2]
    assert floe("show", "nugen-26/417/reco#2", "--json").json()["attempts"][0]["number"] == 2
    assert floe("show", "nugen-26/417/reco#3").status == 4
    text = floe("show", "nugen-26/417/reco").out
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
    assert "a17" in text


def test_jobs_pages_until_the_limit(floe: Floe, node: FakeNode) -> None:
    def page(request: Request) -> dict[str, Any]:
        first = int(request.query.get("after", -1)) + 1
        last = min(first + int(request.query["limit"]), 2500)
        units = [{"job": job, "task": "sim", "state": "ready"} for job in range(first, last)]
        return {"units": units, "next": last - 1 if last < 2500 else None}

    node.replies["/v1/datasets/big/jobs"] = page
    assert len(floe("jobs", "big", "--limit", "2100", "--json").json()["units"]) == 2100
    assert len(floe("jobs", "big", "--limit", "9999", "--json").json()["units"]) == 2500
    assert "more with --limit" in floe("jobs", "big", "--limit", "3").err


def test_jobs_sends_its_selection(floe: Floe, node: FakeNode) -> None:
    node.replies["/v1/datasets/a/jobs"] = {"units": [], "next": None}
    floe("jobs", "a", "--state", "failed", "--task", "sim", "--jobs", "0-9,20")
    query = node.requests[-1].query
    assert (query["state"], query["task"], query["jobs"]) == ("failed", "sim", "0-9,20")


def test_logs_are_harmless_and_raw_on_request(floe: Floe, node: FakeNode) -> None:
    node.files["/v1/units/a/0/main/log"] = b"ok\n\x1b]0;owned\x07\xff bad"
    shown = floe("logs", "a/0/main")
    assert shown.out == "ok\n\\x1b]0;owned\\x07\\xff bad\n"
    node.files["/v1/units/a/0/main/log"] = b"ok\n\x1b[31mred"
    assert floe("logs", "a/0/main", "--raw").out == "ok\n\x1b[31mred"


def test_logs_asks_for_the_named_attempt(floe: Floe, node: FakeNode) -> None:
    node.files["/v1/units/a/0/main/log"] = b"x"
    floe("logs", "a/0/main#2")
    assert node.requests[-1].query == {"attempt": "2"}


def live(text: str, began: int = 1_790_000_000_000) -> dict[str, Any]:
    return {"started_ms": began, "text": base64.b64encode(text.encode()).decode()}


def test_following_a_log_ends_with_the_unit(
    floe: Floe, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "one\ntwo\nthree\n"
    printed = [4, 4, 6, 6]  # bytes, by each look
    states = ["running", "running", "settled", "settled"]
    offsets = []
    monkeypatch.setattr("time.sleep", lambda _s: None)
    node.replies["/v1/units/a/0/main"] = lambda _: unit_reply(state=states.pop(0))

    def answer(request: Request) -> dict[str, Any]:
        offsets.append(int(request.query["offset"]))
        return live(whole[offsets[-1] : printed.pop(0)])

    node.replies["/v1/units/a/0/main/log/live"] = answer
    node.files["/v1/units/a/0/main/log"] = whole.encode()
    assert floe("logs", "a/0/main", "-f").out == whole
    assert offsets == [0, 4, 4, 6]


def test_following_goes_on_with_the_next_attempt(
    floe: Floe, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = ["running", "running", "settled", "settled"]
    looks = [live("first\n", 1), live("", 1), live("nd\n", 2), live("second\n", 2), live("", 2)]
    monkeypatch.setattr("time.sleep", lambda _s: None)
    ended = {"number": 2, "start_ms": 2, "log": "00"}
    node.replies["/v1/units/a/0/main"] = lambda _: {
        "unit": {"state": states.pop(0)}, "attempts": [ended],
    }  # fmt: skip
    node.replies["/v1/units/a/0/main/log/live"] = lambda _: looks.pop(0)
    node.files["/v1/units/a/0/main/log"] = b"second\nlast\n"
    shown = floe("logs", "a/0/main", "-f")
    assert shown.out == "first\nsecond\nlast\n"
    assert "another one" in shown.err


def test_following_prints_a_log_whole_that_could_not_be_read_before(
    floe: Floe, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = ["waiting", "settled"]
    monkeypatch.setattr("time.sleep", lambda _s: None)
    node.replies["/v1/units/a/0/main"] = lambda _: unit_reply(state=states.pop(0))
    node.files["/v1/units/a/0/main/log"] = b"all of it\n"
    assert floe("logs", "a/0/main", "-f").out == "all of it\n"


def test_errors_and_why_show_hostile_text_harmless(floe: Floe, node: FakeNode) -> None:
    node.replies["/v1/datasets/a/errors"] = {
        "errors": [{"count": 3, "kind": "exit 3", "where": "main", "tail": f"x\n{HOSTILE}\n"}]
    }
    node.replies["/v1/units/a/0/main/why"] = {
        "why": {
            "state": "failed",
            "summary": f"exit 3 {HOSTILE}",
            "lines": [{"mark": "block", "text": HOSTILE}],
        }
    }
    for words in (("errors", "a"), ("why", "a/0/main")):
        shown = floe(*words)
        assert shown.status == 0
        assert "\x1b" not in shown.out
        assert "[red]x[/red]" in shown.out


# --- fetching


def serve_outputs(node: FakeNode, outputs: dict[tuple[int, str, str], bytes]) -> None:
    listed = []
    for (job, task, path), content in outputs.items():
        digest = hashlib.blake2b(content, digest_size=32).hexdigest()
        listed.append(
            {"job": job, "task": task, "path": path, "size": len(content), "digest": digest}
        )
        node.files[f"/v1/units/a/{job}/{task}/output/{path}"] = content
    node.replies["/v1/datasets/a/outputs"] = {"outputs": listed, "next": None}


def test_fetch_writes_job_task_file(floe: Floe, node: FakeNode, tmp_path: Path) -> None:
    serve_outputs(node, {(0, "sim", "x.npz"): b"xyz", (1, "sim", "plots/a.png"): b"png"})
    to = tmp_path / "out"
    done = floe("fetch", "a", "--to", str(to), "--json").json()
    assert (done["files"], done["bytes"]) == (2, 6)
    assert (to / "0" / "sim" / "x.npz").read_bytes() == b"xyz"
    assert (to / "1" / "sim" / "plots" / "a.png").read_bytes() == b"png"
    again = floe("fetch", "a", "--to", str(to), "--json").json()
    assert (again["files"], again["already_there"]) == (0, 2)


def test_fetch_goes_on_where_it_stopped(floe: Floe, node: FakeNode, tmp_path: Path) -> None:
    serve_outputs(node, {(0, "sim", "x.npz"): b"0123456789"})
    digest = hashlib.blake2b(b"0123456789", digest_size=32).hexdigest()
    folder = tmp_path / "out" / "0" / "sim"
    folder.mkdir(parents=True)
    (folder / f".x.npz.{digest[:16]}.part").write_bytes(b"01234")
    assert floe("fetch", "a", "--to", str(tmp_path / "out")).status == 0
    assert (folder / "x.npz").read_bytes() == b"0123456789"
    assert node.requests[-1].headers["range"] == "bytes=5-"


def test_fetch_keeps_no_file_with_other_bytes(floe: Floe, node: FakeNode, tmp_path: Path) -> None:
    serve_outputs(node, {(0, "sim", "x.npz"): b"xyz"})
    node.files["/v1/units/a/0/sim/output/x.npz"] = b"XYZ"
    assert floe("fetch", "a", "--to", str(tmp_path / "out")).status == 1
    assert list((tmp_path / "out" / "0" / "sim").iterdir()) == []


@pytest.mark.parametrize(
    "path", ["../../x", "/etc/passwd", "a/../../../x", "", ".", "a//b", "x\0y"]
)
def test_fetch_never_leaves_its_folder(
    floe: Floe, node: FakeNode, tmp_path: Path, path: str
) -> None:
    node.replies["/v1/datasets/a/outputs"] = {
        "outputs": [{"job": 0, "task": "sim", "path": path, "size": 1, "digest": "00" * 32}]
    }
    shown = floe("fetch", "a", "--to", str(tmp_path / "out"))
    assert shown.status == 1
    assert "leads out" in shown.err


def test_fetch_follows_no_link(floe: Floe, node: FakeNode, tmp_path: Path) -> None:
    serve_outputs(node, {(0, "sim", "x.npz"): b"xyz"})
    (tmp_path / "out" / "0").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "0" / "sim").symlink_to(tmp_path / "elsewhere")
    assert floe("fetch", "a", "--to", str(tmp_path / "out")).status == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- waiting


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"settled": 4}, 0),
        ({"settled": 3, "failed": 1}, 3),
        ({"settled": 2, "failed": 1, "blocked": 1}, 3),
        ({"settled": 3, "cancelled": 1}, 3),
    ],
)
def test_wait_exits_by_how_it_ended(
    floe: Floe, node: FakeNode, counts: dict[str, int], status: int
) -> None:
    node.dataset("a", 4, ["main"], **counts)
    assert floe("wait", "a", "--timeout", "5").status == status
    assert floe("watch", "a").status == status


def test_wait_exits_1_when_the_time_is_over(floe: Floe, node: FakeNode) -> None:
    node.dataset("a", 4, ["main"], settled=3, running=1)
    shown = floe("wait", "a", "--timeout", "0")
    assert shown.status == 1
    assert "time over" in shown.err
    assert floe("wait", "a", "--timeout", "0", "--json").json()["done"] is False


def test_wait_sits_out_a_restart_of_the_node(node: FakeNode, home: Home) -> None:
    from node.client import Unreachable

    replies: list[Any] = [{"done": False}, Unreachable("gone"), Unreachable("gone"), {"done": True}]
    slept: list[float] = []

    class Away:
        def get(self, *_: object, **__: object) -> Any:
            reply = replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply

    reply = waiting.poll_until_done(Away(), "a", None, sleep=slept.append)  # type: ignore[arg-type]
    assert reply == {"done": True}
    assert waiting.AWAY_S_FIRST in slept


def test_a_success_after_a_cancel_is_no_duplicate(floe: Floe, node: FakeNode) -> None:
    reply = unit_reply()
    reply["attempts"][1] |= {"accepted": False, "duplicate": True, "surplus": "cancelled"}
    node.replies["/v1/units/nugen-26/417/reco"] = reply
    shown = floe("show", "nugen-26/417/reco").out
    assert "ended after the cancel" in shown
    assert "duplicate" not in shown


# --- orders


def test_cancel_signs_the_selection(floe: Floe, node: FakeNode) -> None:
    node.dataset("a", 4, ["sim", "reco"])
    assert floe("set", "cancel", "a", "--jobs", "1-2", "--task", "reco").status == 0
    (order,) = node.posted["/v1/commands"]
    assert (order["kind"], order["verb"], order["dataset"]) == ("command", "cancel", "cd" * 32)
    assert order["args"]["select"] == {"tasks": ["reco"], "jobs": [1, 3]}


@pytest.mark.parametrize(
    ("order", "counts", "told"),
    [
        ("cancel", {"settled": 4}, "nothing there could be cancelled"),
        ("retry", {"settled": 2, "cancelled": 2}, "nothing there could be tried again"),
    ],
)
def test_an_order_that_changed_nothing_says_so(
    floe: Floe, node: FakeNode, order: str, counts: dict[str, int], told: str
) -> None:
    node.dataset("a", 4, ["sim"], **counts)
    node.replies["/v1/commands"] = {"applied": True, "counts": {"units": 4, **counts}}
    assert told in floe("set", order, "a", "--yes" if order == "cancel" else "--task=sim").out


def test_an_order_about_a_part_says_which(floe: Floe, node: FakeNode) -> None:
    node.dataset("a", 2000, ["sim", "reco"])
    node.replies["/v1/commands"] = {"applied": True, "counts": {"units": 4000, "cancelled": 1}}
    assert "a, jobs 10-1000 cancelled" in floe("set", "cancel", "a", "--jobs", "10-1_000").out
    told = floe("set", "cancel", "a", "--jobs", "7", "--task", "reco").out
    assert "a, task reco, job 7 cancelled" in told


@pytest.mark.parametrize(
    ("order", "told"), [("resume", "cannot go on: all of it has ended"), ("pause", "though")]
)
def test_what_has_ended_is_not_said_to_go_on(
    floe: Floe, node: FakeNode, order: str, told: str
) -> None:
    node.dataset("a", 4, ["sim"], settled=4)
    node.replies["/v1/commands"] = {"applied": True, "counts": {"units": 4, "settled": 4}}
    shown = floe("set", order, "a").out
    assert told in shown
    assert "goes on" not in shown


@pytest.mark.parametrize("order", ["pause", "resume"])
def test_plain_orders_name_the_dataset(floe: Floe, node: FakeNode, order: str) -> None:
    node.dataset("a", 4, ["sim"])
    assert floe("set", order, "a", "--json").json()["applied"] is True
    assert node.posted["/v1/commands"][0]["verb"] == order


def test_edit_extend_and_retry(floe: Floe, node: FakeNode) -> None:
    node.dataset("a", 4, ["sim", "reco"])
    assert floe("set", "edit", "a", "--task", "reco", "--memory", "16GB").status == 0
    assert floe("set", "edit", "a", "--priority", "80").status == 0
    assert floe("set", "extend", "a", "--jobs", "1000").status == 0
    assert floe("set", "retry", "a").status == 0
    edit, priority, extend, retry = (order["args"] for order in node.posted["/v1/commands"])
    assert floe("set", "renew", "a", "--task", "sim", "--jobs", "2").status == 0
    renew = node.posted["/v1/commands"][-1]
    assert (renew["verb"], renew["args"]["select"]) == ("renew", {"tasks": ["sim"], "jobs": [2, 3]})
    assert edit["needs"] == {"reco": {"memory": "16GB"}}
    assert priority == {"priority": 80}
    assert extend == {"jobs": 1000}
    assert retry == {}


@pytest.mark.parametrize(
    "words",
    [
        ("set", "edit", "a"),
        ("set", "edit", "a", "--memory", "16"),
        ("set", "extend", "a", "--jobs", "0"),
        ("set", "cancel", "a", "--jobs", "9-1"),
        ("set", "cancel", "a"),
        ("set", "cancel", "a", "--json"),
        ("set", "pause", "a/1/b"),
        ("logs", "a"),
        ("nonsense",),
        ("show",),
        ("submit",),
        ("wait", "a", "--timeout", "x"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    floe: Floe, node: FakeNode, words: tuple[str, ...]
) -> None:
    shown = floe(*words)
    assert shown.status == 2
    assert "--help" in shown.err
    assert not node.posted


def test_a_signed_description_verifies_with_the_real_program(
    floe: Floe, node: FakeNode, key: Path, tmp_path: Path
) -> None:
    document = b'{"description":{"name":"a"},"floe":1,"kind":"dataset"}'
    argv = ["ssh-keygen", "-Y", "sign", "-n", "icefloe", "-f", str(key)]
    armored = subprocess.run(argv, input=document, capture_output=True, check=True).stdout
    from keys.sshsig import dearmor

    node.replies["/v1/datasets/a/document"] = {
        "document": base64.b64encode(document).decode(),
        "signature": base64.b64encode(dearmor(armored.decode())).decode(),
        "user": "ana",
    }
    shown = floe("set", "show", "a", "--save", str(tmp_path / "signed"))
    assert shown.status == 0
    done = subprocess.run(["sh", "-c", shown.out], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert floe("set", "show", "a", "--document").out == document.decode()


# --- failures


@pytest.mark.parametrize(("status", "exit_status"), [(403, 5), (404, 4), (400, 1), (503, 1)])
def test_refusals_have_their_exit_status(
    floe: Floe, node: FakeNode, status: int, exit_status: int
) -> None:
    def refuse(_request: Request) -> dict[str, Any]:
        raise Refuse(status, f"no {HOSTILE}", "do this")

    node.replies["/v1/datasets/a"] = refuse
    shown = floe("show", "a", "--json")
    assert shown.status == exit_status
    assert shown.json()["error"]["message"] == f"no {HOSTILE}"
    assert "\x1b" not in shown.err
    assert "do this" in shown.err


def test_someone_who_is_not_enrolled_is_denied(floe: Floe, node: FakeNode) -> None:
    node.people.clear()
    assert floe("sets").status == 5


def test_no_node_exits_6_and_says_how_to_start_one(floe: Floe, home: Home) -> None:
    shown = floe("sets")
    assert shown.status == 6
    assert "floe init" in shown.err
    assert shown.out == ""
    assert floe("sets", "--json").json()["error"]["code"] == "unreachable"


def test_a_node_elsewhere_needs_its_fingerprint(floe: Floe, home: Home, node: FakeNode) -> None:
    address = home.address()
    assert address is not None
    node.replies["/v1/datasets"] = {"datasets": []}
    home.node_json.unlink()
    assert floe("--node", address.api, "sets").status == 6
    shown = floe("--node", address.api, "--fingerprint", address.fingerprint, "sets")
    assert shown.status == 0
    assert "no datasets yet" in shown.out


def test_a_wrong_word_is_answered_with_the_near_one(floe: Floe, home: Home) -> None:
    assert "did you mean 'submit'" in floe("sumbit").err


def test_a_closed_pipe_is_no_error(home: Home, node: FakeNode) -> None:
    environment = dict(os.environ)
    node.replies["/v1/datasets"] = {"datasets": [{"name": "x" * 2000}] * 5000}
    shell = "python -m node.cli sets --json | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"],
        env={**environment, "PATH": f"{Path(os.sys.executable).parent}:{environment['PATH']}"},  # type: ignore[attr-defined]
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout + "}") == {}


def test_a_key_that_gets_another_name_is_told(floe: Floe, node: FakeNode, key: Path) -> None:
    line = key.with_suffix(".pub").read_text().strip()
    ben = {"name": "ben", "key": line.rpartition(" ")[0]}

    def people(request: Any) -> Any:
        return node._signed(request) if request.method == "POST" else {"people": [ben]}

    node.replies["/v1/people"] = people
    assert floe("users", "add", "ben2", line).out == "ben is now ben2\n"
    assert floe("users", "add", "ben", line).out == "ben may submit here\n"


def test_the_whole_machine_is_shown_in_words(floe: Floe, node: FakeNode) -> None:
    batch = {"name": "local", "memory_bytes": 0, "disk_bytes": 2 * 10**9}
    node.replies["/v1/site"] = {"site": {"name": "desy", "batch": [batch]}}
    shown = floe("site", "show", "local").out
    assert "all of it" in shown
    assert "2 GB" in shown
    assert "0 B" not in shown


def test_the_help_of_a_group_cuts_no_summary(floe: Floe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = floe("mesh", "--help").out
    assert "..." not in shown.partition("Commands:")[2]
    assert "bytes, credits." in shown


def test_what_a_copy_lacks_is_not_called_gone_while_other_sites_may_hold_it(
    floe: Floe, node: FakeNode
) -> None:
    words = "entries 19 to 26 of control, generation 1"
    node.replies["/v1/recovery"] = {"still": [], "lost": [{"words": words}]}
    shown = floe("mesh", "recover", "--dry-run").out
    assert f"lost: {words}. What another site holds of it comes back by itself" in shown
    assert "of the rest" in shown

"""submit, plan and test: from what people write to what they sign."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node.home import Home
from tests.fakes.api_server import FakeNode
from tests.unit.node.cli.conftest import Floe

DATASET = """floe = 1
name = "chain"
jobs = 3
files = ["gen.sh"]
[[task]]
name = "gen"
outputs = ["n.txt"]
[[task.module]]
run = ["./gen.sh", "{job}"]
[[task]]
name = "add"
after = ["gen"]
inputs = { "n.txt" = "gen/n.txt" }
outputs = ["sum.txt"]
[[task.module]]
script = '''echo $(( $(cat n.txt) + 1 )) > sum.txt'''
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a script and a description, as the current one."""
    folder = tmp_path / "work"
    folder.mkdir()
    script = folder / "gen.sh"
    script.write_text("#!/bin/sh\necho $(($1 * 10)) > n.txt\n")
    script.chmod(0o755)
    (folder / "chain.toml").write_text(DATASET)
    monkeypatch.chdir(folder)
    return folder


def signed(node: FakeNode) -> dict[str, Any]:
    (document,) = node.posted["/v1/datasets"]
    return document


def test_submit_signs_the_description_and_sends_its_files(
    floe: Floe, node: FakeNode, work: Path
) -> None:
    shown = floe("submit", "chain.toml")
    assert shown.status == 0, shown.err
    document = signed(node)
    assert document["kind"] == "dataset"
    assert document["description"]["name"] == "chain"
    content = (work / "gen.sh").read_bytes()
    digest = hashlib.blake2b(content, digest_size=32).hexdigest()
    assert document["files"]["gen.sh"]["digest"] == digest
    assert node.blobs == {digest: content}
    assert "stored on desy" in shown.out
    assert "floe watch chain" in shown.out


def test_files_that_the_node_has_are_not_sent_again(floe: Floe, node: FakeNode, work: Path) -> None:
    floe("submit", "chain.toml")
    floe("submit", "chain.toml")
    assert sum(request.method == "PUT" for request in node.requests) == 1
    first, second = node.posted["/v1/datasets"]
    assert first["nonce"] != second["nonce"]


def test_submit_json_has_what_scripts_rely_on(floe: Floe, node: FakeNode, work: Path) -> None:
    shown = floe("submit", "--json", "--name", "x", "--jobs", "4", "--", "./gen.sh", "{job}").json()
    assert shown["schema"] == 1
    assert set(shown["dataset"]) == {"id", "name"}
    assert shown["units"] == 4
    assert shown["stored_on"] == ["desy"]


def test_a_dataset_on_fewer_sites_than_asked_is_told_and_fails(
    floe: Floe, node: FakeNode, work: Path
) -> None:
    assert floe("submit", "--wait-stored", "1", "chain.toml").status == 0
    shown = floe("submit", "--wait-stored", "2", "chain.toml")
    assert shown.status == 1
    assert "submitted, but not stored on 2 sites yet" in shown.err
    assert node.requests[-1].json()["wait_stored"] == 2


def test_a_command_line_is_the_same_record_as_its_printed_file(
    floe: Floe, node: FakeNode, work: Path
) -> None:
    words = ["--jobs", "4", "--matrix", "g=1,2", "--output", "n.txt", "--memory", "500MB"]
    command = ["--", "./gen.sh", "{job}", "{g}"]
    printed = floe("submit", "--print", *words, *command)
    assert printed.status == 0, printed.err
    assert not node.posted
    (work / "printed.toml").write_text(printed.out)
    floe("submit", *words, *command)
    floe("submit", "printed.toml")
    first, second = node.posted["/v1/datasets"]
    assert {**first, "nonce": ""} == {**second, "nonce": ""}


def test_options_of_a_command_are_its_own_behind_the_dashes(
    floe: Floe, node: FakeNode, work: Path
) -> None:
    floe("submit", "--", "./gen.sh", "--jobs", "9", "--json", "--", "x")
    description = signed(node)["description"]
    assert description["task"][0]["module"][0]["run"] == [
        "./gen.sh", "--jobs", "9", "--json", "--", "x",
    ]  # fmt: skip


def test_every_problem_is_told_and_nothing_is_sent(floe: Floe, node: FakeNode, work: Path) -> None:
    (work / "bad.toml").write_text(
        'floe = 1\nname = "bad"\n[[task]]\nname = "a"\nafter = ["b"]\n'
        'needs = { memory = "2 gigs" }\n[[task.module]]\nrun = ["x", "{flavour}"]\n'
    )
    shown = floe("submit", "bad.toml", "--json")
    assert shown.status == 1
    problems = shown.json()["error"]["problems"]
    assert len(problems) == 3
    assert {problem["line"] for problem in problems} == {5, 6, 8}
    assert all(problem["what"] for problem in problems)
    assert "3 problems, nothing was submitted" in shown.err
    assert "2 gigs" in shown.err
    assert not node.posted
    assert not node.requests


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"floe = ", b"[" * 10_000, b'{"a":' * 10_000, b"x" * 3_000_000, b"\0" * 10],
)
def test_what_is_no_description_is_refused_in_words(
    floe: Floe, node: FakeNode, work: Path, content: bytes
) -> None:
    (work / "bad.toml").write_bytes(content)
    for verb in ("submit", "plan", "test"):
        shown = floe(verb, "bad.toml")
        assert shown.status == 1
        assert "bad.toml" in shown.err
        assert "Traceback" not in shown.err


def test_a_command_without_its_dashes_is_told_where_it_goes(
    floe: Floe, node: FakeNode, work: Path
) -> None:
    assert 'go after "--"' in floe("submit", "--jobs", "3", "echo", "hi").err
    shown = floe("submit", "gen.sh")
    assert "gen.sh is a program" in shown.err
    assert "-- ./gen.sh" in shown.err


def test_options_of_a_command_are_refused_by_their_names_with_a_file(
    floe: Floe, home: Home, work: Path
) -> None:
    shown = floe("submit", "chain.toml", "--jobs", "4", "--output", "a")
    assert "--jobs, --output: only with a command" in shown.err


def test_a_group_alone_names_its_verbs(floe: Floe, home: Home) -> None:
    shown = floe("set")
    assert (shown.status, shown.out) == (2, "")
    assert "show, pause, resume, cancel, retry, renew, edit, extend\n" in shown.err


def test_a_misspelt_script_is_refused(floe: Floe, node: FakeNode, work: Path) -> None:
    shown = floe("submit", "--", "./gne.sh")
    assert '"./gne.sh" is not here' in shown.err
    assert not node.posted


def test_another_dataset_is_looked_up_before_signing(
    floe: Floe, node: FakeNode, work: Path
) -> None:
    node.dataset("first", 7, ["sim"])
    (work / "second.toml").write_text(
        'floe = 1\nname = "second"\n[[task]]\nname = "merge"\nafter = ["first/sim:*"]\n'
        '[[task.module]]\nrun = ["true"]\n'
    )
    assert floe("submit", "second.toml").status == 0
    assert signed(node)["foreign"] == {"first": {"id": "cd" * 32, "jobs": 7, "tasks": ["sim"]}}
    (work / "second.toml").write_text((work / "second.toml").read_text().replace("first/", "no/"))
    shown = floe("submit", "second.toml", "--json")
    assert shown.status == 1
    assert shown.json()["error"]["problems"][0]["line"] == 5


def test_submit_without_a_site_says_so_before_it_asks_for_a_key(
    floe: Floe, home: Home, work: Path
) -> None:
    home.client.unlink()
    home.site_key.unlink(missing_ok=True)
    shown = floe("submit", "--", "true")
    assert shown.status == 6
    assert "there is no site" in shown.err
    assert "floe init" in shown.err


def test_plan_needs_no_node(floe: Floe, home: Home, work: Path) -> None:
    shown = floe("plan", "chain.toml")
    assert shown.status == 0, shown.err
    assert "./gen.sh 2" in shown.out
    plan = floe("plan", "chain.toml", "--job", "1", "--json").json()
    assert plan["tasks"][0]["runs"][0]["modules"][0]["run"] == ["./gen.sh", "1"]
    assert floe("plan", "chain.toml", "--job", "3").status == 1


def test_test_runs_a_job_through_the_pilot_with_no_node(
    floe: Floe, home: Home, work: Path, tmp_path: Path
) -> None:
    shown = floe("test", "chain.toml", "--job", "2", "--to", str(tmp_path / "out"))
    assert shown.status == 0, shown.out + shown.err
    assert (tmp_path / "out" / "2" / "gen" / "n.txt").read_text() == "20\n"
    assert (tmp_path / "out" / "2" / "add" / "sum.txt").read_text() == "21\n"


def test_test_exits_3_when_the_work_fails(floe: Floe, home: Home, work: Path) -> None:
    shown = floe("test", "--json", "--", "sh", "-c", "echo oops >&2; exit 7")
    assert shown.status == 3
    assert shown.json()["ok"] is False
    assert shown.json()["events"][-1]["exit"] == 7


def test_the_schema_is_json_schema(floe: Floe, home: Home) -> None:
    schema = floe("submit", "--schema").json()
    assert "json-schema.org" in schema["$schema"]
    assert "task" in schema["properties"]


def test_submitting_loads_no_server_no_tables_and_no_twisted(
    home: Home, node: FakeNode, work: Path
) -> None:
    """What is not imported cannot make a submission slow."""
    code = (
        "import sys; from node.cli import main; status = main(['submit', 'chain.toml']);"
        "heavy = {'twisted', 'rich', 'pydantic', 'apsw', 'cryptography', 'treq', 'msgpack'};"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules})); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_stdin_is_a_description_too(home: Home, node: FakeNode, work: Path) -> None:
    argv = [sys.executable, "-m", "node.cli", "submit", "-", "--json"]
    done = subprocess.run(argv, input=DATASET, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dataset"]["name"] == "chain"

"""A pilot from announcing to leaving: units run, results and blobs arrive, nothing stays."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.meshes import wait_until
from pilot.processes import children_of
from tests.fakes.pilot_server import PilotServer, task
from tests.unit.pilot.conftest import ROOT, Launch, gone, processes_with

OLDEST = Path.home() / ".pyenv/versions/3.6.15/bin/python"


def test_a_unit_runs_and_its_result_arrives(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    pilot = launch(isolation=isolation)
    server.add(task(["sh", "-c", "echo job $FLOE_JOB of $FLOE_DATASET; pwd"]), jobs=[7])
    row = server.result(7)
    assert (row["outcome"], row["error"], row["exit"]) == (0, "", 0)
    assert server.log(row).startswith(b"job 7 of stub\n")
    assert server.state.announced[0]["isolation"] == isolation
    assert pilot.end() == 0
    assert server.state.left
    assert list(pilot.work.iterdir()) == []


def test_the_oldest_python_runs_units_too(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    if not OLDEST.exists():
        pytest.skip("no Python 3.6 here")
    pilot = launch(python=str(OLDEST), isolation=isolation)
    server.add(task(["sh", "-c", "echo $FLOE_JOB"]), jobs=range(30))
    server.until(lambda state: len(state.rows) == 30)
    assert {row["outcome"] for row in server.state.rows} == {0}
    assert pilot.end() == 0


def test_many_units_each_get_a_scratch_folder_and_group_of_their_own(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    launch(isolation=isolation)
    script = (
        'test -z "$(ls -A)"; touch mine; test "$(ps -o pgid= -p $$ | tr -d " ")" = $$; '
        "test $(ulimit -c) = 0; echo $FLOE_JOB"
    )
    server.add(task({"script": script}), jobs=range(200))
    server.until(lambda state: len(state.rows) == 200)
    assert {row["error"] for row in server.state.rows} == {""}
    for row in server.state.rows:
        assert server.log(row) == b"%d\n" % row["job"]


def test_units_that_make_the_same_large_files_and_logs_all_keep_them(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    launch(isolation=isolation)
    script = "head -c 300000 /dev/zero | tee one > two; head -c 300000 /dev/zero"
    server.add(task({"script": script}, outputs=[{"path": "one"}, {"path": "two"}]), jobs=range(40))
    server.until(lambda state: len(state.rows) == 40)
    assert {row["error"] for row in server.state.rows} == {""}
    for row in server.state.rows:
        assert server.log(row) == bytes(300_000)


def test_two_units_run_side_by_side(server: PilotServer, launch: Launch, tmp_path: Path) -> None:
    launch()
    meet = tmp_path / "meet"
    meet.mkdir()
    script = f"touch {meet}/$FLOE_JOB; until [ $(ls {meet} | wc -l) = 2 ]; do sleep 0.01; done"
    server.add(task({"script": script}, needs={"time_s": 20}), jobs=[0, 1])
    assert server.result(0)["outcome"] == server.result(1)["outcome"] == 0


def test_units_that_do_not_fit_together_run_one_after_another(
    server: PilotServer, launch: Launch, tmp_path: Path
) -> None:
    launch(memory_bytes=1_000_000_000)
    script = f"mkdir {tmp_path}/alone; sleep 0.1; rmdir {tmp_path}/alone"
    server.add(task({"script": script}, needs={"memory_bytes": 600_000_000}), jobs=range(4))
    server.until(lambda state: len(state.rows) == 4)
    assert {row["error"] for row in server.state.rows} == {""}


def test_files_inputs_and_outputs_travel(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    launch(isolation=isolation)
    program, big, small = (
        b"#!/bin/sh\ncp big copy; cat in/small; echo made > m.txt\n",
        b"b" * 3_000_000,
        b"s",
    )
    spec = task(
        ["./run.sh"],
        files=[
            {"to": "run.sh", "digest": server.put(program), "size": len(program), "mode": 0o755}
        ],
        outputs=[{"path": "*.txt"}, {"path": "copy"}, {"path": "no-such", "optional": True}],
    )
    inputs = [
        ["big", server.put(big), len(big), 0o644],
        ["in/small", server.put(small), len(small), 0o600],
    ]
    server.add(spec, jobs=[5], inputs={"5": inputs}, read={"5": "ab" * 32})
    row = server.result(5)
    assert row["error"] == "", row
    assert server.log(row) == small
    assert server.outputs(row) == {"m.txt": b"made\n", "copy": big}
    assert row["inputs"] == "ab" * 32


def test_a_missing_output_fails_the_unit_and_names_it(server: PilotServer, launch: Launch) -> None:
    launch()
    server.add(task(["true"], outputs=[{"path": "result.npz"}]))
    row = server.result()
    assert (row["outcome"], row["error"], row["tail"]) == (1, "output", "result.npz was not made")


def test_url_inputs_and_outputs(server: PilotServer, launch: Launch, tmp_path: Path) -> None:
    launch()
    (tmp_path / "given").write_text("given")
    spec = task(
        {"script": "cat a.txt b.txt > out; test ! -e c.txt"},
        inputs=[
            {"local": "a.txt", "from": f"file://{tmp_path}/given"},
            {"local": "b.txt", "from": f"file://{tmp_path}/given", "optional": True},
            {"local": "c.txt", "from": f"file://{tmp_path}/nothing", "optional": True},
        ],
        outputs=[{"path": "out", "to": [f"file://{tmp_path}/kept/{{job}}.txt"]}],
    )
    server.add(spec, jobs=[8])
    assert server.result(8)["error"] == ""
    assert (tmp_path / "kept" / "8.txt").read_text() == "givengiven"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["8.txt"]


def test_an_input_that_is_not_there_is_a_failure_of_the_payload(
    server: PilotServer, launch: Launch, tmp_path: Path
) -> None:
    launch()
    missing = {"local": "a.txt", "from": f"file://{tmp_path}/nothing"}
    server.add(task(["true"], inputs=[missing]))
    row = server.result()
    assert (row["outcome"], row["error"]) == (1, "input")
    assert "nothing: No such file" in row["tail"]


def test_a_blob_that_the_site_lacks_is_no_failure_of_the_payload(
    server: PilotServer, launch: Launch
) -> None:
    launch()
    server.add(task(["true"]), inputs={"0": [["x", "ab" * 32, 1, 0o644]]})
    row = server.result()
    assert (row["outcome"], row["error"]) == (3, "input-fetch")


def test_modules_run_in_order_and_the_first_failure_ends_the_unit(
    server: PilotServer, launch: Launch
) -> None:
    launch()
    server.add(
        task(
            {"run": ["cat", "a.json"], "write": {"a.json": {"seed": "{20 + job}"}}, "stdout": "b"},
            {"script": "cat b; exit 2", "exit": {"ok": [0, 2], "retry": [], "fail": []}},
            {"script": "exit 7"},
            {"script": "echo never"},
        ),
        jobs=[3],
    )
    row = server.result(3)
    assert (row["outcome"], row["error"], row["exit"]) == (1, "exit", 7)
    assert server.log(row) == b'{"seed": 23}\n'


def test_environment_wrap_setup_and_stdin(
    server: PilotServer, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT_ONE", "kept")
    monkeypatch.setenv("NOT_KEPT", "secret")
    launch()
    env = {"setup": "SET=up; export SET", "wrap": ["env", "W=rapped"], "vars": {"V": "v{job}"}}
    script = 'cat; echo $SET $W $V $KEPT_ONE ${NOT_KEPT:-none} "$FLOE_P_text" $FLOE_ATTEMPT'
    server.add(
        task(
            {"script": script, "stdin": "in", "write": {"in": "read\n"}},
            env={**env, "keep": ["KEPT_*"]},
            params={"text": "a  b"},
        ),
        jobs=[6],
        attempts={"6": 4},
    )
    assert server.log(server.result(6)) == b"read\nup rapped v6 kept none a  b 4\n"


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["no-such-program"], 127, "no program 'no-such-program' in PATH"),
        (["./gone"], 127, "no such program: ./gone"),
        (["/etc/passwd"], 126, "not executable: /etc/passwd"),
    ],
)
def test_a_program_that_cannot_start_is_named(
    server: PilotServer, launch: Launch, argv: list[str], status: int, text: str
) -> None:
    launch()
    server.add(task(argv))
    row = server.result()
    assert (row["outcome"], row["error"], row["exit"]) == (1, "spawn", status)
    assert text in row["tail"]


def test_time_memory_and_disk_are_measured(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    launch(isolation=isolation)
    burn = (
        "x = b'x' * 120_000_000; open('f', 'wb').write(x[:20_000_000]); [0 for _ in range(10**7)]"
    )
    server.add(
        task(
            ["python3", "-c", f"import time; {burn}; time.sleep(0.3)"],
            needs={"memory_bytes": 10**9},
        )
    )
    row = server.result()
    assert row["outcome"] == 0, row
    assert row["wall_ms"] >= 300
    assert 50 <= row["cpu_ms"] <= row["wall_ms"] + 200
    assert 110_000 < row["memory_kib"] < 300_000
    assert 19_000 < row["disk_kib"] < 30_000


# --- coming and going -----------------------------------------------------------------------------


def test_sigterm_evicts_what_runs_and_hands_back_what_waits(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    pilot = launch(isolation=isolation)
    server.add(task({"script": "echo began; exec sleep 1000"}), jobs=range(100))
    server.until(lambda state: len(state.running) == 2)
    assert pilot.end() == 0
    rows = {row["job"]: row for row in server.state.rows}
    assert {row["error"] for row in rows.values()} == {"evicted"}
    assert {row["outcome"] for row in rows.values()} == {3}
    assert len(rows) == 2
    assert server.state.left
    assert all(not lease.left for lease in server.state.leases.values())
    assert list(pilot.work.iterdir()) == []


def test_sigterm_is_told_in_time_though_a_payload_is_deaf(
    server: PilotServer, launch: Launch, isolation: str
) -> None:
    pilot = launch(isolation=isolation, grace_s=9)
    server.add(task({"script": "trap '' TERM; while :; do sleep 0.1; done"}))
    server.until(lambda state: state.running)
    began = time.monotonic()
    pilot.end()
    assert time.monotonic() - began < 9
    assert server.state.rows[-1]["error"] == "evicted"


@pytest.mark.parametrize("victim", ["pilot", "nursery"])
def test_no_payload_outlives_a_killed_pilot(
    server: PilotServer, launch: Launch, isolation: str, victim: str
) -> None:
    mark = f"97001.{os.getpid()}"
    pilot = launch(isolation=isolation)
    script = f"(setsid sleep {mark} &) ; trap '' TERM; sleep {mark} & sleep {mark}"
    server.add(task({"script": script}), jobs=[0, 1])
    server.until(lambda state: len(state.running) == 2)
    server.until(lambda _: len(processes_with(mark)) == 8)  # each of them has begun
    if victim == "pilot":
        pilot.end(signal.SIGKILL)
    else:
        (nursery,) = children_of(pilot.process.pid)
        os.kill(nursery, signal.SIGKILL)
    assert gone(mark)


def test_work_goes_on_while_the_node_is_away(server: PilotServer, launch: Launch) -> None:
    launch()
    server.add(task({"script": "sleep 0.5; echo $FLOE_JOB"}), jobs=range(4))
    server.until(lambda state: state.running)
    server.down = True
    time.sleep(1.0)
    assert len(server.state.rows) < 4
    server.down = False
    server.until(lambda state: len(state.rows) == 4)
    assert {row["error"] for row in server.state.rows} == {""}
    server.add(task(["true"]), jobs=[9])
    assert server.result(9)["outcome"] == 0


def test_a_node_that_forgot_the_session_is_told_what_is_held(
    server: PilotServer, launch: Launch, tmp_path: Path
) -> None:
    launch()
    go = tmp_path / "go"
    server.add(task({"script": f"until [ -e {go} ]; do sleep 0.05; done"}), jobs=range(2))
    server.until(lambda state: len(state.running) == 2)
    old, server.state.session = server.state.session, "forgotten"
    server.until(lambda state: len(state.announced) == 2)
    assert server.state.announced[1]["session"] == old
    held = {lease: set(jobs) for lease, jobs in server.state.announced[1]["holding"]}
    assert sum(len(jobs) for jobs in held.values()) == 2
    go.touch()
    server.until(lambda state: len(state.rows) == 2)


def test_new_work_reaches_a_pilot_that_only_listens_for_orders(
    server: PilotServer, launch: Launch
) -> None:
    server.poll_s = 60
    launch(cpu=1)
    server.add(task({"script": "sleep 3"}), jobs=[0, 1])
    server.until(lambda state: state.polls >= 2)  # the second one asks for no units
    server.result(0)
    assert server.result(1, timeout_s=30)["outcome"] == 0


@pytest.mark.parametrize(("where", "status"), [("blobs", 503), ("report", 503), ("poll", 500)])
def test_a_refusal_that_may_pass_is_waited_out(
    server: PilotServer, launch: Launch, where: str, status: int
) -> None:
    server.refuse[where] = status
    launch()
    server.add(task({"script": "echo words"}))
    row = server.result()
    assert (row["error"], server.log(row)) == ("", b"words\n")


def test_blobs_that_the_node_never_takes_fail_their_units_only(
    server: PilotServer, launch: Launch
) -> None:
    server.refuse["blobs"] = 400
    launch()
    server.add(task({"script": "if [ $FLOE_JOB = 0 ]; then echo words; fi"}), jobs=[0, 1])
    assert server.result(0)["error"] == "output-store"
    assert server.result(1)["error"] == ""


def test_units_of_a_report_that_the_node_never_takes_are_given_back(
    server: PilotServer, launch: Launch
) -> None:
    server.refuse["report"] = 400
    launch()
    server.add(task(["true"]), jobs=[4])
    server.until(lambda state: state.returned)
    assert server.state.returned == [(1, 4)]


def test_a_damaged_input_is_fetched_again(server: PilotServer, launch: Launch) -> None:
    digest = server.put(b"right")
    server.state.blobs[digest] = b"wrong"
    launch()
    server.add(task(["cat", "x"]), inputs={"0": [["x", digest, 5, 0o644]]})
    server.until(lambda state: state.requests > 3)
    server.state.blobs[digest] = b"right"
    assert server.log(server.result()) == b"right"


def test_a_task_that_the_node_forgot_to_describe_is_asked_for_again(
    server: PilotServer, launch: Launch
) -> None:
    launch()
    first = server.add(task(["true"]))
    server.result(0)
    other = server.add(task(["false"]), jobs=[])
    with server.changed:
        server.state.sent.add(other)  # as if it had been told
        server.state.ready[:] = [{"spec": other, "jobs": [1], "more": {}}]
        server.changed.notify_all()
    server.until(lambda state: state.returned)
    server.until(lambda state: len(state.announced) == 2)
    with server.changed:
        server.state.ready.append({"spec": other, "jobs": [1], "more": {}})
        server.state.ready.append({"spec": first, "jobs": [2], "more": {}})
        server.changed.notify_all()
    assert server.result(1)["error"] == "exit"
    assert server.result(2)["error"] == ""


def test_sigterm_is_obeyed_though_the_node_is_away(server: PilotServer, launch: Launch) -> None:
    mark = f"97002.{os.getpid()}"
    pilot = launch(grace_s=2)
    server.add(task({"script": f"sleep {mark}"}))
    server.until(lambda state: state.running)
    server.down = True
    began = time.monotonic()
    pilot.end()
    assert time.monotonic() - began < 10
    assert gone(mark)
    assert list(pilot.work.iterdir()) == []


def test_a_pilot_that_holds_nothing_ends_soon_though_the_node_is_away(
    server: PilotServer, launch: Launch
) -> None:
    pilot = launch(grace_s=60)
    server.add(task(["true"]))
    server.result()
    server.until(lambda state: all(not lease.left for lease in state.leases.values()))
    server.down = True
    began = time.monotonic()
    pilot.end()
    assert time.monotonic() - began < 10


def test_a_stop_order_reaches_a_running_unit_and_spares_the_others(
    server: PilotServer, launch: Launch, isolation: str, tmp_path: Path
) -> None:
    launch(isolation=isolation)
    go = tmp_path / "go"
    server.add(task({"script": f"until [ -e {go} ]; do sleep 0.05; done"}), jobs=[0, 1])
    server.until(lambda state: len(state.running) == 2)
    lease, job, _ = server.state.running[0]
    server.order({"order": "stop", "lease": lease, "jobs": [job], "why": "cancel"})
    row = server.result(job)
    assert (row["outcome"], row["error"]) == (4, "cancelled")
    go.touch()  # so far, nothing but the order could end it
    assert server.result(1 - job)["outcome"] == 0


def test_the_log_of_a_running_unit_can_be_read(
    server: PilotServer, launch: Launch, isolation: str, tmp_path: Path
) -> None:
    launch(isolation=isolation, cpu=1)
    begun = tmp_path / "begun"
    server.add(task({"script": f"echo begun; touch {begun}; exec sleep 600"}), jobs=[0])
    server.until(lambda state: state.running and begun.exists())
    ((lease, job, _),) = server.state.running
    for offset in (0, 2):
        server.order({"order": "tail", "lease": lease, "job": job, "offset": offset})
    server.until(lambda state: len(state.logs) == 2)
    told = {entry[2]: base64.b64decode(entry[3]) for entry in server.state.logs}
    assert told == {0: b"begun\n", 2: b"gun\n"}
    assert [entry[:2] for entry in server.state.logs] == [[lease, job]] * 2


def test_a_stop_order_drops_units_that_wait(server: PilotServer, launch: Launch) -> None:
    launch(cpu=1)
    server.add(task({"script": "sleep 600"}), jobs=range(3))
    server.until(lambda state: state.running)
    for lease in list(server.state.leases):
        server.order({"order": "stop", "lease": lease, "jobs": None, "why": "cancel"})
    server.until(lambda state: all(not lease.left for lease in state.leases.values()))
    told = {row["job"] for row in server.state.rows if row["error"] == "cancelled"}
    assert told == {0}


def test_drain_finishes_what_runs_and_leaves(
    server: PilotServer, launch: Launch, tmp_path: Path
) -> None:
    pilot = launch(cpu=1)
    go = tmp_path / "go"
    server.add(task({"script": f"until [ -e {go} ]; do sleep 0.5; done"}), jobs=range(5))
    server.until(lambda state: state.running)
    server.order({"order": "drain"})
    server.until(lambda state: not state.orders)  # the pilot hears of it now
    go.touch()
    assert pilot.process.wait(20) == 0
    assert [row["error"] for row in server.state.rows] == [""]
    assert all(not lease.left for lease in server.state.leases.values())


def test_a_pilot_without_work_leaves_after_a_while(server: PilotServer, launch: Launch) -> None:
    pilot = launch(idle_s=0.5)
    assert pilot.process.wait(20) == 0
    assert server.state.left


def test_units_longer_than_the_time_left_are_given_back(
    server: PilotServer, launch: Launch
) -> None:
    launch(lifetime_s=30)
    server.add(task(["true"], needs={"time_s": 3600}), jobs=[1])
    server.until(lambda state: state.returned)
    assert server.state.rows == []


def test_an_announcement_that_is_made_again_is_known_to_be_of_the_same_pilot(
    server: PilotServer, launch: Launch
) -> None:
    launch()
    server.until(lambda state: len(state.announced) == 1)
    server.state.session = "forgotten"
    server.until(lambda state: len(state.announced) == 2)
    launch()
    server.until(lambda state: len(state.announced) == 3)
    first, again, other = (each["secret"] for each in server.state.announced)
    assert first == again != other
    assert len(first) >= 32


def test_a_token_that_is_not_taken_ends_the_pilot(server: PilotServer, launch: Launch) -> None:
    pilot = launch(token="stolen")
    assert pilot.process.wait(20) == 1
    assert "not a token of this site" in pilot.log()
    assert "stolen" not in pilot.log()


def test_a_server_with_another_certificate_gets_nothing(
    server: PilotServer, launch: Launch
) -> None:
    pilot = launch(fingerprint="00" * 32)
    deadline = time.monotonic() + 30
    while "not the pinned" not in pilot.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.state.requests == 0
    pilot.end()


def test_settings_that_others_can_read_are_refused(launch: Launch, tmp_path: Path) -> None:
    settings = tmp_path / "open.json"
    settings.write_text("{}")
    settings.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-m", "pilot", str(settings)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


DENYING = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'


@pytest.fixture
def denied() -> list[str]:
    """Words before a command that let it run where no user namespaces may be made."""
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", DENYING, "sh"]
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("this host cannot play one that denies user namespaces")
    return words


def test_where_namespaces_are_denied_units_run_without(
    server: PilotServer, launch: Launch, denied: list[str]
) -> None:
    pilot = launch(under=denied)
    server.add(task({"script": "echo fine"}))
    assert server.log(server.result()) == b"fine\n"
    assert server.state.announced[0]["isolation"] == "group"
    assert "units are not walled off from each other: unshare: No space left" in pilot.log()


def test_walls_that_were_demanded_and_cannot_be_had_end_the_pilot(
    server: PilotServer, launch: Launch, denied: list[str]
) -> None:
    pilot = launch(under=denied, isolation="full")
    assert pilot.process.wait(20) == 2
    assert server.state.announced == []


def test_a_pilot_that_never_reached_its_node_says_last_why(launch: Launch) -> None:
    pilot = launch(urls=["https://127.0.0.1:1"])
    wait_until(lambda: "cannot reach the node" in pilot.log(), 20, "a pilot that tries")
    pilot.end()
    last = pilot.log().splitlines()[-1]
    assert "does not hear that this pilot ends, nothing is lost: " in last
    assert "refused" in last

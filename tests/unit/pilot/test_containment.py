"""Payloads that misbehave: contained, recorded, and the next unit runs as if nothing had been."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.pilot_server import PilotServer, task
from tests.unit.pilot.conftest import Launch, RunningPilot, gone, processes_with

Run = Callable[..., dict[str, Any]]
PAYLOAD, RESOURCES, INFRASTRUCTURE, STOPPED = 1, 2, 3, 4


@pytest.fixture
def pilot(launch: Launch, isolation: str) -> RunningPilot:
    return launch(isolation=isolation)


@pytest.fixture
def run(server: PilotServer, pilot: RunningPilot) -> Run:
    """Runs a shell script as one unit, then a harmless one; the first one's row."""

    def one(script: str, job: int = 1, **needs: Any) -> dict[str, Any]:
        server.add(task({"script": script}, needs=needs), jobs=[job])
        row = server.result(job, 60)
        server.add(task({"script": 'ls -A; ls -A "$TMPDIR"; echo fine'}), jobs=[job + 1000])
        after = server.result(job + 1000, 60)
        assert after["outcome"] == 0, after
        assert server.log(after) == b"fine\n"
        return row

    return one


def marker(number: int) -> str:
    """An argument of sleep that no other process has."""
    return f"{90000 + number}.{os.getpid()}"


def test_children_in_the_background_end_with_their_unit(run: Run) -> None:
    mark = marker(1)
    row = run(f"sleep {mark} & sleep {mark} & echo started")
    assert row["outcome"] == 0
    assert processes_with(mark) == []


def test_daemons_in_sessions_of_their_own_end_with_their_unit(run: Run) -> None:
    mark = marker(2)
    row = run(f"(setsid sh -c '(setsid sleep {mark} &) ; sleep {mark}' &) ; sleep 0.3")
    assert row["outcome"] == 0
    assert processes_with(mark) == []


def test_a_fork_bomb_is_ended_by_its_time(run: Run) -> None:
    mark = marker(3)
    # Bounded, so that a failing test does not take the machine down.
    bomb = (
        "python3 -c 'import os,time\n"
        "for _ in range(7): os.fork()\n"
        f'os.execvp("sleep", ["sleep", "{mark}"])\''
    )
    row = run(bomb, time_s=1)
    assert (row["outcome"], row["error"]) == (RESOURCES, "time")
    assert processes_with(mark) == []


def test_a_fork_bomb_without_bound_is_contained(run: Run, isolation: str) -> None:
    if isolation == "group":
        pytest.skip("see test_account.py: without namespaces nothing binds uid 0")
    mark = marker(5)
    row = run(f"b() {{ b {mark} | b & }}; b; sleep 30", time_s=2)
    assert row["error"] in ("time", "exit")  # "exit": the bomb choked on itself
    assert gone(mark)


def test_sigterm_ignored_is_killed_after_the_grace_time(run: Run) -> None:
    row = run("trap '' TERM; echo deaf; while :; do sleep 0.05; done", time_s=1)
    assert (row["outcome"], row["error"]) == (RESOURCES, "time")
    assert 1000 <= row["wall_ms"] < 9000
    assert "over its 1s" in row["tail"]


def test_sigterm_heard_lets_a_payload_finish(server: PilotServer, run: Run) -> None:
    row = run("trap 'echo saved; exit 0' TERM; while :; do sleep 0.05; done", time_s=1)
    assert row["error"] == "time"
    assert b"saved" in server.log(row)
    assert row["wall_ms"] < 3000  # nobody waited for the end of the grace time


def test_memory_over_the_limit_ends_the_unit_only(run: Run) -> None:
    row = run("python3 -c 'x = b\"x\" * 900_000_000; input()'", memory_bytes=200_000_000)
    assert (row["outcome"], row["error"]) == (RESOURCES, "memory")
    assert row["memory_kib"] > 150_000
    assert "200 MB allowed" in row["tail"]


def test_memory_of_many_small_processes_counts_together(run: Run) -> None:
    eat = "python3 -c 'import time; x = b\"x\" * 60_000_000; time.sleep(60)' &"
    row = run(eat * 4 + " wait", memory_bytes=150_000_000)
    assert (row["outcome"], row["error"]) == (RESOURCES, "memory")


def test_memory_kept_in_shared_memory_files_counts(run: Run, isolation: str) -> None:
    if isolation == "group":
        pytest.skip("without namespaces all units share /dev/shm")
    row = run(
        "head -c 200M /dev/zero > /dev/shm/x; sleep 60", memory_bytes=100_000_000, disk_bytes=10**9
    )
    assert (row["outcome"], row["error"]) == (RESOURCES, "memory")
    assert not Path("/dev/shm/x").exists()


def test_many_files_over_the_disk_allowance_end_the_unit(run: Run) -> None:
    fill = "i=0; while :; do head -c 5000000 /dev/zero > f$i; i=$((i+1)); sleep 0.01; done"
    row = run(fill, disk_bytes=60_000_000)
    assert (row["outcome"], row["error"]) == (RESOURCES, "disk")
    assert row["disk_kib"] > 50_000


def test_one_file_over_the_disk_allowance_ends_the_unit(run: Run) -> None:
    row = run("cat /dev/zero > big", disk_bytes=30_000_000)
    assert (row["outcome"], row["error"]) == (RESOURCES, "disk")
    assert row["disk_kib"] < 2_000_000


def test_output_without_end_is_cut_and_ends_the_unit(server: PilotServer, run: Run) -> None:
    row = run("echo begins; yes 0123456789", disk_bytes=50_000_000)
    assert (row["outcome"], row["error"]) == (PAYLOAD, "log")
    log = server.log(row)
    assert log.startswith(b"begins\n")
    assert len(log) < 70 << 20


def test_a_long_log_keeps_both_ends(server: PilotServer, run: Run) -> None:
    row = run("echo begins; yes 0123456789 | head -c 150M; echo; echo ends", disk_bytes=10**9)
    assert row["outcome"] == 0
    log = server.log(row)
    assert log.startswith(b"begins\n")
    assert log.endswith(b"\nends\n")
    assert b"bytes of this log were left out here" in log
    assert len(log) < 65 << 20


def test_killing_the_parent_changes_nothing_or_is_recorded(run: Run, isolation: str) -> None:
    row = run("kill -9 $PPID; sleep 0.3; exit 3")
    if isolation == "full":  # process 1 of a namespace cannot be killed from inside
        assert (row["outcome"], row["exit"]) == (PAYLOAD, 3)
    else:
        assert (row["outcome"], row["error"]) == (INFRASTRUCTURE, "runner-lost")


def test_killing_everything_reaches_only_the_unit(run: Run, isolation: str) -> None:
    if isolation == "group":
        pytest.skip("without namespaces nothing keeps an account from killing its own processes")
    row = run("kill -9 -1 || true; exit 3")
    assert (row["outcome"], row["exit"]) == (PAYLOAD, 3)


def test_what_a_killed_runner_leaves_is_hunted_down(run: Run, isolation: str) -> None:
    mark = marker(4)
    row = run(f"(setsid sleep {mark} &); kill -9 $PPID; exec sleep {mark}", time_s=2)
    assert row["error"] == ("runner-lost" if isolation == "group" else "time")
    assert gone(mark)


def test_the_unit_that_kills_its_runner_is_found_among_many(
    server: PilotServer, pilot: RunningPilot, isolation: str
) -> None:
    if isolation == "full":
        pytest.skip("a runner in its own namespace cannot be killed")
    server.add(task({"script": "true"}), jobs=range(50))
    server.until(lambda state: len(state.rows) == 50)
    server.state.rows.clear()
    script = "if [ $FLOE_JOB = 33 ]; then kill -9 $PPID; sleep 9; fi"
    server.add(task({"script": script}), jobs=range(60))
    server.until(lambda state: {row["job"] for row in state.rows} == set(range(60)), 60)
    lost = {row["job"]: row["error"] for row in server.state.rows if row["outcome"]}
    assert lost == {33: "runner-lost"}


def test_binary_output_and_escapes_become_harmless_text(server: PilotServer, run: Run) -> None:
    row = run(r"printf '\033]0;owned\007\033[2J\000\377\200 \033[31mbad\033[0m\n' >&2; exit 9")
    assert (row["outcome"], row["error"], row["exit"]) == (PAYLOAD, "exit", 9)
    assert "bad" in row["tail"]
    assert not set(row["tail"]) & {chr(code) for code in [*range(9), *range(11, 32), 127]}
    assert "owned" not in row["tail"]
    assert b"\033]0;owned\007\033[2J\000\377\200" in server.log(row)  # the log is as it was


def test_the_home_and_the_token_are_hidden(
    run: Run, server: PilotServer, isolation: str, tmp_path: Path
) -> None:
    if isolation == "group":
        pytest.skip("nothing can be hidden without namespaces")
    home = tmp_path / "home"
    (home / "keys").mkdir()
    (home / "keys" / "site.key").write_text("secret")
    script = f"""
        cat {home}/keys/site.key && exit 20
        cat {home}/pilots/settings-0.json && exit 21
        ls {home} && exit 22
        ls {home}/pilots && exit 23
        echo x > {home}/mine && exit 24
        umount {home} && exit 25
        ls /proc/1/root/ && exit 26
        cat /proc/1/environ && exit 27
        unshare --user --map-root-user --mount umount {home} && exit 28
        ls ..  # its own slot is there
        echo looked
    """
    row = run("set +e\n" + script)
    assert row["outcome"] == 0, (row, server.log(row))
    assert b"secret" not in server.log(row)
    assert b"looked" in server.log(row)


def test_payloads_have_no_capabilities(run: Run, server: PilotServer) -> None:
    row = run("grep ^Cap /proc/self/status")
    assert {line.split()[1] for line in server.log(row).splitlines()} == {b"0" * 16}


def test_the_pilot_cannot_be_looked_into(
    run: Run, server: PilotServer, pilot: RunningPilot, isolation: str
) -> None:
    if os.geteuid() != 0 and isolation == "group":
        pytest.skip("the pilot's files in /proc belong to root then")
    row = run(f"set +e; cat /proc/{pilot.process.pid}/environ > x && exit 20; exit 0")
    assert row["exit"] == 0


def test_rights_and_depth_do_not_keep_a_scratch_folder_alive(run: Run, pilot: RunningPilot) -> None:
    deep = (
        "python3 -c 'import os\n"
        'for _ in range(3000): os.mkdir("a" * 50); os.chdir("a" * 50)\n'
        'open("end", "w")\''
    )
    assert run(deep + "; mkdir -p shut/in; touch shut/in/x; chmod 000 shut/in shut")["outcome"] == 0
    assert list((pilot.work / "slots").rglob("*stuck*")) == []


def test_a_pipe_in_place_of_a_file_blocks_nobody(run: Run) -> None:
    row = run("mkfifo out.txt", job=2)
    assert row["outcome"] == 0


def test_special_files_are_no_outputs(server: PilotServer, pilot: RunningPilot) -> None:
    secret = "/etc/hostname"
    for job, script in enumerate(
        ("mkfifo out", f"ln -s {secret} out", "mkdir out", "ln -s out out", "ln -s /dev/zero out")
    ):
        server.add(task({"script": script}, outputs=[{"path": "out"}]), jobs=[job])
        row = server.result(job)
        assert (row["outcome"], row["error"]) == (PAYLOAD, "output"), (script, row)


def test_stdin_from_a_pipe_that_nobody_writes_does_not_block(
    server: PilotServer, pilot: RunningPilot
) -> None:
    modules = [{"script": "mkfifo cards"}, {"run": ["cat"], "stdin": "cards"}]
    server.add(task(*modules))
    assert server.result()["outcome"] == 0


def test_signals_of_payloads_are_told(run: Run) -> None:
    row = run("kill -SEGV $$")
    assert (row["outcome"], row["error"], row["exit"]) == (PAYLOAD, "signal", -signal.SIGSEGV)


def test_payloads_inherit_nothing_that_is_the_pilots(server: PilotServer, run: Run) -> None:
    row = run("python3 -c 'import os; print(*map(os.readlink, [\"/proc/self/fd/%d\" % n "
              "for n in range(3, 64) if os.path.lexists(\"/proc/self/fd/%d\" % n)]))'")  # fmt: skip
    assert row["outcome"] == 0
    assert server.log(row) == b"\n"


@pytest.mark.parametrize("kind", ["stdin", "stdout", "stderr", "cwd"])
@pytest.mark.parametrize("to", ["/proc/self/mem", "/proc/self/fd", "../log", "/tmp/left-by-floe"])
def test_links_do_not_lead_the_runner_to_what_payloads_cannot_reach(
    server: PilotServer, pilot: RunningPilot, kind: str, to: str
) -> None:
    # Descriptors of the runner's: the cache of blobs, and the folder that holds its scratch.
    targets = [f"/proc/self/fd/{n}" for n in range(3, 12)] if to == "/proc/self/fd" else [to]
    for job, target in enumerate(targets):
        modules = [{"script": f"ln -s {target} way"}, {"script": "pwd; ls -la; cat", kind: "way"}]
        server.add(task(*modules), jobs=[job])
    for job in range(len(targets)):
        row = server.result(job, 30)
        assert row["outcome"] != 0, (targets[job], server.log(row))
        assert row["error"] in ("input", "output"), row
    assert not os.path.lexists("/tmp/left-by-floe")
    server.add(task({"script": "ln -s real way; mkdir d; ln -s d e"}, {"run": ["pwd"], "cwd": "e"},
                    {"script": "echo fine", "stdout": "way"}, {"run": ["cat"], "stdin": "real"}),
               jobs=[500])  # fmt: skip
    row = server.result(500, 30)
    assert row["outcome"] == 0, row
    assert server.log(row).endswith(b"/d\nfine\n")

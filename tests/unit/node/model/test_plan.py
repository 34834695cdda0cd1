"""What a description would run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.model.document import load
from node.model.plan import plan_json, plan_text
from node.model.problems import Invalid
from tests.unit.node.model.drafts import small, with_module, with_task

TEXT = """floe = 1
name = "nugen"
jobs = 3
[matrix]
flavor = ["e", "mu"]
[params]
seed = "{20000 + job}"
[[task]]
name = "reco"
after = ["sim"]
inputs = { "in.npz" = "sim/o{seed}.npz" }
needs = { gpu = 1, memory = "8GB", time = "2h" }
[[task.module]]
run = ["awk", "{print $1}", "{{x}}", "in.npz"]
[[task]]
name = "sim"
outputs = ["o{seed}.npz"]
[[task.module]]
write = { "args.json" = { seed = "{seed}" } }
run = ["gen", "--seed", "{seed}", "a b"]
"""


def test_the_plan_of_first_and_last_job_on_one_screen() -> None:
    assert plan_text(load(TEXT)).splitlines() == [
        "nugen   6 jobs × 2 tasks = 12 units",
        "",
        "sim   1 CPU, 1 GB memory, 1 GB disk, 1h",
        "  job 0",
        '    write  args.json  {"seed": 20000}',
        "    run    gen --seed 20000 'a b'",
        "    keep   o20000.npz",
        "  job 5",
        '    write  args.json  {"seed": 20005}',
        "    run    gen --seed 20005 'a b'",
        "    keep   o20005.npz",
        "",
        "reco   after sim; 1 CPU, 1 GPU, 8 GB memory, 1 GB disk, 2h",
        "  job 0",
        "    get    in.npz  from sim/o20000.npz",
        "    run    awk '{print $1}' '{x}' in.npz",
        "  job 5",
        "    get    in.npz  from sim/o20005.npz",
        "    run    awk '{print $1}' '{x}' in.npz",
        "",
        "braces that stay as they are, and doubled ones",
        "  line 14  task.reco.module[0].run  literal brace: {print $1}",
        '  line 14  task.reco.module[0].run  "{{" becomes "{": {{x}}',
    ]


def test_any_job_can_be_shown() -> None:
    plan = plan_json(load(TEXT), 3)
    (run,) = plan["tasks"][0]["runs"]
    assert (run["job"], run["names"]["flavor"], run["names"]["rep"]) == (3, "mu", 1)
    assert json.loads(json.dumps(plan)) == plan
    with pytest.raises(Invalid, match="there is no job 6; use 0 to 5"):
        plan_json(load(TEXT), 6)


def test_one_job_is_shown_once() -> None:
    assert [run["job"] for run in plan_json(load(small()))["tasks"][0]["runs"]] == [0]


def test_a_job_in_the_middle_of_a_foreach_file(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("run\n" + "".join(f"r{n}\n" for n in range(500)))
    draft = load(with_module(run=["x", "{run}"]) | {"foreach": {"file": "r.csv"}}, tmp_path)
    assert "x r321" in plan_text(draft, 321)
    assert "foreach  500 rows of run" in plan_text(draft)


def test_other_datasets_need_not_be_known_yet() -> None:
    assert "after other/sim:*" in plan_text(load(with_task(after=["other/sim:*"])))


def test_a_job_that_cannot_be_expanded_is_said() -> None:
    table = with_module(run=["{10 // (job - 1)}"]) | {"jobs": 3}
    assert "cannot be expanded: {10 // (job - 1)}: division by zero" in plan_text(load(table), 1)


def test_warnings_are_part_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "gen.py").write_text("")
    draft = load(with_module(run=["python3", "gen.py"]), tmp_path)
    assert '"gen.py" is here, but no unit will find it' in plan_text(draft)


def test_a_wrong_description_has_no_plan() -> None:
    with pytest.raises(Invalid):
        plan_text(load(small(jobs=0)))


def test_text_from_the_description_cannot_move_the_cursor() -> None:
    assert "\x1b" not in plan_text(load(with_module(run=["x", "\x1b[2J"])))


def test_a_brace_that_all_tasks_see_is_listed_once() -> None:
    tasks = [{"name": name, "module": [{"run": ["true"]}]} for name in "abc"]
    draft = load(small(task=tasks, params={"p": "{{x}}"}, env={"vars": {"A": "{a,b}"}}))
    found = [(brace["where"], brace["what"]) for brace in plan_json(draft)["braces"]]
    assert found == [("env.vars.A", "literal brace"), ("params.p", '"{{" becomes "{"')]

"""Reading descriptions: everything that is wrong at once, each with its place and a way out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.model.document import load
from node.model.problems import Invalid
from tests.unit.node.model.drafts import (
    NONCE,
    built,
    problems,
    resolve,
    small,
    spec_of,
    with_module,
    with_task,
)

HEAD = 'floe = 1\nname = "x"\n'
TASK = '[[task]]\nname = "a"\n[[task.module]]\nrun = ["true"]\n'


def refusal(source: Any) -> str:
    with pytest.raises(Invalid) as caught:
        load(source).build(resolve, NONCE)
    return str(caught.value)


# --- the list of errors


def test_all_errors_come_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "nugen.toml"
    path.write_text(
        'floe = 1\nname = "nugen"\njobs = 0\n\n[[task]]\nname = "sim"\n'
        'needs = { memory = "2 gigs" }\n[[task.module]]\nrun = ["gen"]\n\n'
        '[[task]]\nname = "reco"\nafter = ["smi"]\n[[task.module]]\n'
        'run = ["reco", "{flavour}"]\n'
    )
    assert refusal(path).splitlines() == [
        "nugen.toml: 4 problems, nothing was submitted",
        "  line 3   jobs  0 is out of range; write an integer from 1 to 1,000,000,000",
        '  line 7   task.sim.needs.memory  "2 gigs" is no size; write "2GB" or "2GiB"',
        '  line 13  task.reco.after  no task "smi"; did you mean "sim"?',
        "  line 15  task.reco.module[0].run  {flavour} is unknown here; "
        'known: job, jobs, cell, rep, task, name; a literal brace is written "{{"',
    ]


def test_json_has_lines_too() -> None:
    text = '{"floe": 1,\n "name": "x",\n "task": [{"name": "a",\n  "module": [{"run": 5}]}]}'
    assert "line 4  task.a.module[0].run  5 is no list" in refusal(text)


def test_one_problem_is_one() -> None:
    assert refusal(HEAD + "jobs = 1.5\n" + TASK).startswith("description: 1 problem, nothing")


def test_errors_have_a_json_form() -> None:
    with pytest.raises(Invalid) as caught:
        load(HEAD + "jobs = 0\n" + TASK).build()
    assert [error.json() for error in caught.value.errors] == [
        {
            "where": "jobs",
            "what": "0 is out of range",
            "right": "write an integer from 1 to 1,000,000,000",
            "line": 3,
        }
    ]


def test_a_thousand_errors_show_two_hundred() -> None:
    keys = "".join(f"k{n} = 1\n" for n in range(1000))
    assert "200 problems" in refusal(HEAD + keys + TASK)


def test_terminal_escapes_are_made_harmless() -> None:
    assert "\x1b" not in refusal('floe = 1\nname = "\\u001b[31m"\n' + TASK)


# --- what is no description at all


def test_toml_that_is_not_toml_names_the_line() -> None:
    assert "line 3  is no TOML" in refusal(HEAD + 'x = "abc\n')
    assert "line 3  is no TOML" in refusal(HEAD + "jobs 5\n")


def test_json_that_is_not_json_names_the_line() -> None:
    assert "line 2  is no JSON" in refusal('{"floe": 1,\n "name" 5}')


def test_a_key_twice_is_refused_in_json_too() -> None:
    assert "stands twice" in refusal('{"floe": 1, "floe": 1}')


def test_bytes_that_are_not_utf8_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'floe = 1\nname = "\xe9"\n')
    assert "line 2  byte 0xe9 is no UTF-8" in refusal(path)


def test_a_hundred_megabytes_are_refused_by_their_size(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    began = time.process_time()
    assert "is 100 MB" in refusal(path)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "x = " + "[" * 10_000 + "]" * 10_000,
        HEAD + "x = " + "{ a = " * 10_000 + "1" + "}" * 10_000,
        HEAD + "x" + ".x" * 10_000 + " = 1\n",
        HEAD + "[x" + ".x" * 10_000 + "]\n",
        '{"floe": ' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"floe": ' + "[" * 10_000,
        '{"a": ' * 10_000 + "1" + "}" * 10_000,
    ],
)
def test_ten_thousand_levels_are_refused_before_the_parser_sees_them(text: str) -> None:
    began = time.process_time()
    assert "nested deeper than 64" in refusal(text)
    assert time.process_time() - began < 1


def test_brackets_in_strings_and_comments_do_not_nest() -> None:
    brackets = "[" * 500 + "{{" * 500
    text = f'{HEAD}description = "{brackets}" # {brackets}\n{TASK}'
    assert spec_of(text).description == brackets


def test_numbers_of_five_thousand_digits_are_refused() -> None:
    assert "number that is too long" in refusal(HEAD + "jobs = " + "9" * 5000 + "\n" + TASK)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.toml")
    assert "directory" in refusal(tmp_path)


def test_nothing_at_all_lacks_what_is_required() -> None:
    assert set(problems("")) == {"floe", "name", "task"}


def test_a_newer_description_is_refused() -> None:
    assert "install a newer floe" in problems(small(floe=2))["floe"]
    assert "out of range" in problems(small(floe=0))["floe"]


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    problems(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KEYS = ["jobs", "files", "foreach", "matrix", "params", "env", "needs", "retry", "task", "labels"]


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4), JSON)
def test_any_values_are_taken_or_refused(changes: dict[str, Any], value: Any) -> None:
    problems(json.dumps({"floe": 1, "name": "x", **changes}))
    problems(json.dumps(with_task(after=value, inputs=value, outputs=value)))
    problems(json.dumps(with_module(run=value, write=value, exit=value, cwd=value)))


# --- keys and kinds


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"memroy": 1}, "memroy", "unknown key"),
        ({"prioritty": 1}, "prioritty", 'did you mean "priority"?'),
        ({"name": "Nugen"}, "name", "no name of a dataset"),
        ({"name": "123"}, "name", "not digits alone"),
        ({"name": "x" * 64}, "name", "at most 63"),
        ({"name": 5}, "name", "no text"),
        ({"name": "a/b"}, "name", "no name"),
        ({"description": "x" * 4097}, "description", "at most 4,096"),
        ({"labels": {"a": 1}}, "labels.a", "no text"),
        ({"labels": {f"l{n}": "" for n in range(33)}}, "labels", "at most 32"),
        ({"priority": 101}, "priority", "0 to 100"),
        ({"priority": -1}, "priority", "0 to 100"),
        ({"priority": True}, "priority", "no integer"),
        ({"jobs": 0}, "jobs", "out of range"),
        ({"jobs": -3}, "jobs", "out of range"),
        ({"jobs": 1.5}, "jobs", "no integer"),
        ({"jobs": "5"}, "jobs", "no integer"),
        ({"jobs": 1_000_000_001}, "jobs", "out of range"),
        ({"extend": "yes"}, "extend", "neither true nor false"),
        ({"needs": {"cpu": 0}}, "needs.cpu", "from 1"),
        ({"needs": {"gpu": -1}}, "needs.gpu", "from 0"),
        ({"needs": {"memory": 2}}, "needs.memory", "has no unit"),
        ({"needs": {"memory": "4h"}}, "needs.memory", "no size"),
        ({"needs": {"time": "2GB"}}, "needs.time", "no time"),
        ({"needs": {"time": "0s"}}, "needs.time", "too little"),
        ({"needs": {"disk": "0B"}}, "needs.disk", "too little"),
        ({"needs": {"time": 3600}}, "needs.time", 'write "90s"'),
        ({"retry": {"max": 21}}, "retry.max", "0 to 20"),
        ({"matrix": {"a": []}}, "matrix.a", "write 1 to"),
        ({"matrix": {"a": [[1]]}}, "matrix.a[0]", "cannot stand here"),
        ({"matrix": {f"a{n}": [1] for n in range(9)}}, "matrix", "at most 8"),
        ({"matrix": {"a-b": [1]}}, "matrix.a-b", "cannot be used in braces"),
        ({"matrix": {"a": [*range(1001)], "b": [*range(1000)]}}, "matrix", "at most 1,000,000"),
        ({"jobs": 600_000_000, "matrix": {"a": [1, 2]}}, "jobs", "1,200,000,000 units"),
        ({"params": {"a b": 1}}, 'params."a b"', "cannot be used in braces"),
        ({"params": {f"p{n}": 1 for n in range(257)}}, "params", "at most 256"),
        ({"params": {"a": None}}, "params.a", "null cannot stand here"),
        ({"params": {"a": 2**128}}, "params.a", "128 bits"),
        ({"env": {"vars": {"FLOE_X": "1"}}}, "env.vars.FLOE_X", "FLOE_... belongs to Icefloe"),
        ({"env": {"vars": {"A": 1}}}, "env.vars.A", "no text"),
        ({"env": {"vars": {"A": "x\0y"}}}, "env.vars.A", "NUL"),
        ({"sites": {"never": ["x"]}}, "sites.never", "unknown key"),
        ({"task": []}, "task", "write 1 to 64"),
        ({"task": [5]}, "task[0]", "no table"),
        ({"foreach": {}}, "foreach", "exactly one of file and rows"),
        ({"foreach": {"rows": []}}, "foreach.rows", "write 1 to 100"),
        ({"foreach": {"rows": [{}]}}, "foreach.rows[0]", "no column"),
        ({"foreach": {"rows": [{"a": 1}, {"b": 1}]}}, "foreach.rows[1]", "other columns"),
        ({"foreach": {"rows": [{"a": 1}] * 101}}, "foreach.rows", "write 1 to 100"),
        ({"foreach": {"file": "none.csv"}}, "foreach.file", "no such file"),
    ],
)
def test_a_bad_key_of_the_dataset_is_refused(changes: Any, where: str, said: str) -> None:
    found = problems(small(**changes))
    assert said in found[where]
    assert list(found) == [where]


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"name": "a b"}, "task.a b.name", "no name of a task"),
        ({"name": "12"}, "task.12.name", "not digits alone"),
        ({"module": []}, "task.sim.module", "write 1 to 256"),
        ({"after": "gen"}, "task.sim.after", "no list"),
        ({"after": ["sim"]}, "task.sim.after", 'task "sim" after itself'),
        ({"after": ["gen"]}, "task.sim.after", 'no task "gen"; tasks: sim'),
        ({"after": ["sims"]}, "task.sim.after", 'did you mean "sim"?'),
        ({"after": ["a/b/c"]}, "task.sim.after", "is no task"),
        ({"after": ["sim:*"]}, "task.sim.after", "put it in a second dataset"),
        ({"after": ["nope/sim"]}, "task.sim.after", 'no dataset "nope"'),
        ({"after": ["other/x"]}, "task.sim.after", "other has no task"),
        ({"after": ["other/gen", "other/gen"]}, "task.sim.after", "twice"),
        ({"inputs": {"a": "sim2/x"}}, "task.sim.inputs.a", "neither a URL nor a file"),
        ({"inputs": {"a": "x.npz"}}, "task.sim.inputs.a", "name the task in after"),
        ({"inputs": {"a": "ftp://h/x"}}, "task.sim.inputs.a", "ftp: is unknown"),
        ({"inputs": {"a": "https://"}}, "task.sim.inputs.a", "names no host"),
        ({"inputs": {"a": "file:x"}}, "task.sim.inputs.a", "neither a URL"),
        ({"inputs": {"a": "file:/x"}}, "task.sim.inputs.a", 'write "file:///data/x"'),
        ({"inputs": {"/a": "https://h/x"}}, 'task.sim.inputs."/a"', "leaves the scratch"),
        ({"inputs": {"../a": "https://h/x"}}, 'task.sim.inputs."../a"', "leaves the scratch"),
        ({"inputs": {"in/": "https://h/x"}}, 'task.sim.inputs."in/"', "filled by all jobs"),
        ({"inputs": {"a": {}}}, "task.sim.inputs.a.from", "is missing"),
        ({"outputs": ["/x"]}, 'task.sim.outputs."/x"', "leaves the scratch"),
        ({"outputs": ["a/../b"]}, 'task.sim.outputs."a/../b"', "leaves the scratch"),
        ({"outputs": ["a", "a"]}, "task.sim.outputs", "a name twice"),
        ({"outputs": {"a": False}}, "task.sim.outputs.a", "write true"),
        ({"outputs": {"a": {"to": "file:///x"}}}, "task.sim.outputs.a.to", "no list"),
        (
            {"outputs": {"*.png": {"to": ["file:///d/x"]}}},
            'task.sim.outputs."*.png".to[0]',
            "folder",
        ),
        ({"outputs": [f"o{n}" for n in range(65)]}, "task.sim.outputs", "write 0 to 64"),
    ],
)
def test_a_bad_key_of_a_task_is_refused(changes: Any, where: str, said: str) -> None:
    found = problems(with_task(**changes))
    assert said in found[where]
    assert list(found) == [where]


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"run": []}, "run", "write 1 to"),
        ({"run": [""]}, "run", "the command is empty"),
        ({"run": ["x", 5]}, "run", "5 is no text"),
        ({"run": None}, "", "neither run nor script"),
        ({"script": "x"}, "", "both run and script"),
        ({"cwd": "/tmp"}, ".cwd", "leaves the scratch"),
        ({"cwd": "../x"}, ".cwd", "leaves the scratch"),
        ({"stdin": "/etc/passwd"}, ".stdin", "leaves the scratch"),
        ({"stdout": "a//b"}, ".stdout", "no plain path"),
        ({"exit": {"ok": [256]}}, ".exit.ok[0]", "0 to 255"),
        ({"exit": {"ok": [0, 1], "fail": [1]}}, ".exit.fail", "1 is also in ok"),
        ({"write": {"../x": "y"}}, '.write."../x"', "leaves the scratch"),
        ({"write": {"x": 5}}, ".write.x", "cannot stand here"),
        ({"run": ["}"]}, "run", "closes nothing"),
        ({"run": ["${job}"]}, "run", 'write "{job}"'),
        ({"run": ["{job,06d}"]}, "run", "no expression"),
        ({"stdout": "{nope}"}, ".stdout", "is unknown"),
        ({"write": {"x": {"a": ["{nope}"]}}}, ".write.x", "is unknown"),
        ({"env": {"vars": {"A": "{nope}"}}}, ".env.vars.A", "is unknown"),
        ({"env": {"wrap": ["{nope}"]}}, ".env.wrap", "is unknown"),
        ({"run": ["{job // (job - job)}"]}, "run", "division by zero"),
        ({"stdout": "../{job}"}, ".stdout", 'job 0: "../0" leaves'),
    ],
)
def test_a_bad_key_of_a_module_is_refused(changes: Any, where: str, said: str) -> None:
    dot = "." if where and where[0] not in ".[" else ""
    place = f"task.sim.module[0]{dot}{where}"
    found = problems(with_module(**changes))
    assert said in found[place]
    assert list(found) == [place]


# --- names that clash


def test_names_in_braces_mean_one_thing() -> None:
    found = problems(
        small(
            params={"job": 1, "g": 2, "run": 3},
            matrix={"g": [1], "name": [1]},
            foreach={"rows": [{"run": 1, "cell": 2}]},
        )
    )
    assert '"job" is built in' in found["params.job"]
    assert '"g" is also in matrix' in found["params.g"]
    assert '"run" is also in foreach' in found["params.run"]
    assert '"name" is built in' in found["matrix.name"]
    assert '"cell" is built in' in found["foreach"]


def test_the_attempt_is_no_name() -> None:
    assert (
        "{attempt} is unknown" in problems(with_module(run=["{attempt}"]))["task.sim.module[0].run"]
    )


def test_tasks_and_modules_need_names_of_their_own() -> None:
    module = {"run": ["true"], "name": "m1"}
    table = small(task=[{"name": "a", "module": [module, {"run": ["true"]}]}] * 2)
    found = problems(table)
    assert "also the name of task 1" in found["task.a.name"]
    assert "name of another module" in found["task.a.module[1].name"]


def test_a_file_is_not_an_input_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    table = with_task(inputs={"a.txt": "https://h/a"}) | {"files": ["a.txt"]}
    assert "also in files" in problems(table, tmp_path)['task.sim.inputs."a.txt"']


# --- graph and inputs


def chain(*afters: list[str]) -> dict[str, Any]:
    tasks = [
        {"name": f"t{n}", "after": after, "module": [{"run": ["true"]}], "outputs": ["o.npz"]}
        for n, after in enumerate(afters)
    ]
    return small(task=tasks)


def test_circles_are_shown_whole() -> None:
    found = problems(chain(["t2"], ["t0"], ["t1"]))
    assert "t0 -> t2 -> t1 -> t0" in found["task.t0.after"]


def test_an_input_names_an_output_of_a_task_that_is_waited_for() -> None:
    table = chain([], ["t0"])
    table["task"][1]["inputs"] = {"in": "t0/o.npz"}
    assert problems(table) == {}
    table["task"][1]["inputs"] = {"in": "t0/o.npy"}
    assert 'did you mean "o.npz"?' in problems(table)["task.t1.inputs.in"]
    table["task"][0]["outputs"] = ["plots/*.png"]
    table["task"][1]["inputs"] = {"in": "t0/plots/a.png"}
    assert problems(table) == {}


def test_an_output_may_be_an_input_too() -> None:
    table = chain([], ["t0"])
    table["task"][1]["inputs"] = {"o.npz": "t0/o.npz"}
    assert problems(table) == {}


def test_all_jobs_fill_a_folder_and_one_job_does_not() -> None:
    assert problems(with_task(after=["other/sim:*"], inputs={"in/": "other/sim:*/o"})) == {}
    all_to_file = with_task(after=["other/sim:*"], inputs={"in": "other/sim:*/o"})
    assert 'write "in/"' in problems(all_to_file)["task.sim.inputs.in"]
    one_to_folder = with_task(after=["other/sim"], inputs={"in/": "other/sim/o"})
    assert 'write "in"' in problems(one_to_folder)['task.sim.inputs."in/"']


def test_waiting_job_by_job_needs_as_many_jobs_there() -> None:
    table = with_task(after=["other/sim"]) | {"jobs": 11}
    assert "other has 10 jobs, this dataset 11" in problems(table)["task.sim.after"]
    assert problems(table | {"jobs": 10}) == {}
    assert problems(with_task(after=["other/sim:*"]) | {"jobs": 11}) == {}


def test_a_url_may_come_whole_from_a_name() -> None:
    table = with_task(inputs={"a": "{url}"}) | {"foreach": {"rows": [{"url": "https://h/x"}]}}
    assert problems(table) == {}


# --- {jobs} and extend


def test_a_dataset_extends_unless_it_uses_jobs() -> None:
    assert spec_of(small()).extend is True
    assert spec_of(small(extend=False)).extend is False
    assert spec_of(with_module(run=["{jobs}"])).extend is False
    assert spec_of(small(params={"n": "{jobs}"})).extend is False
    assert spec_of(with_module(run=["{jobs}"], expand=False)).extend is True
    assert (
        "cannot be extended" in problems(with_module(run=["{jobs}"]) | {"extend": True})["extend"]
    )


# --- trials


def test_arithmetic_is_tried_on_every_value_of_an_axis() -> None:
    table = with_module(run=["{10 // n}"]) | {"matrix": {"n": [1, 2, 0, 4]}}
    assert "job 2: {10 // n}: division by zero" in problems(table)["task.sim.module[0].run"]


def test_the_last_job_is_tried() -> None:
    table = with_module(run=["{l[job]}"]) | {"jobs": 3, "params": {"l": [1, 2]}}
    assert "job 2: {l[job]}: item 2 of a list of 2" in problems(table)["task.sim.module[0].run"]


def test_a_task_parameter_shadows_that_of_the_dataset() -> None:
    table = with_task(params={"a": 2}, module=[{"run": ["{b + 1}"]}])
    assert problems(table | {"params": {"a": "text", "b": "{a}"}}) == {}


def test_params_in_a_circle_are_refused() -> None:
    assert "a -> b -> a" in problems(small(params={"a": "{b}", "b": "{a}"}))["params.a"]


# --- what TOML has and JSON has not


def test_dates_infinities_and_bases_become_text_and_numbers() -> None:
    text = HEAD + "[params]\nd = 2026-01-02\ni = -inf\nn = nan\nh = 0xff\n" + TASK
    params = spec_of(text).document["description"]["params"]
    assert params == {"d": "2026-01-02", "i": "-inf", "n": "nan", "h": 255}


def test_toml_and_json_give_the_same_bytes() -> None:
    text = HEAD + "jobs = 5\n[matrix]\nb = [1]\na = ['x']\n" + TASK
    table = small(name="x", jobs=5, matrix={"b": [1], "a": ["x"]})
    table["task"][0]["name"] = "a"
    assert built(text).document == built(table).document == built(json.dumps(table)).document


# --- limits


def test_a_description_that_compresses_badly_is_refused() -> None:
    import random

    noise = random.Random(1).randbytes(60_000).hex()
    assert "at most 49,152 can be stored" in refusal(with_module(run=None, script=noise))


def test_too_many_braces_are_refused_before_they_cost_anything() -> None:
    tasks = [{"name": f"t{n}", "module": [{"run": ["true"]}]} for n in range(64)]
    table = small(task=tasks, params={"p": [["{job}"] * 2000]})
    assert "more than 500,000 characters in strings with braces" in refusal(table)


def test_params_that_multiply_each_other_are_refused() -> None:
    lines = {"a0": "{job}" + "x" * 1000} | {f"a{n}": f"{{a{n - 1}}}" * 100 for n in range(1, 20)}
    assert "more than 1048576 characters" in problems(small(params=lines))["params.a2"]
    lists = {"a0": ["{job}"]} | {f"a{n}": [f"{{a{n - 1}}}"] * 100 for n in range(1, 20)}
    assert "more than 1048576 characters" in problems(small(params=lists))["params.a3"]


def test_written_files_that_multiply_params_are_refused() -> None:
    table = with_module(write={"f": [["{a}"] * 2000]}) | {"params": {"a": "{job}" + "x" * 1000}}
    assert "more than 1048576 characters" in problems(table)["task.sim.module[0].write.f"]


# --- imports


@pytest.mark.parametrize("module", ["node.model.document", "node.model.validate"])
def test_reading_descriptions_loads_no_server_library(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"twisted", "apsw", "pydantic", "nacl", "cryptography", "rich", "difflib"}
    assert heavy & {name.split(".")[0] for name in loaded.stdout.split()} <= {"difflib"}

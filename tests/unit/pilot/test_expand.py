"""Braces: every example of the reference, every rule, and the same under the pilot's Python."""

from __future__ import annotations

import json
import os
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilot import expand

ROOT = Path(__file__).resolve().parents[3]
OLD_PYTHON = Path.home() / ".pyenv/versions/3.6.15/bin/python"

NAMES: dict[str, Any] = {
    "job": 5,
    "jobs": 40,
    "cell": 1,
    "rep": 2,
    "task": "sim",
    "name": "nugen",
    "seed": 20005,
    "x": 3,
    "big": 2**100,
    "text": "a{job}b",
    "flag": True,
    "gamma": 2.5,
    "list": [10, 20, [30]],
    "table": {"key": {"deep": 7}, "text": "t"},
}

# (text, value): what the rules leave unharmed or compute
GOOD = [
    # examples of the reference
    ("{20000 + job}", 20005),
    ('{"a": [{"seed": {job}}]}', '{"a": [{"seed": 5}]}'),
    ('{"a":{"b":{"c":{job}}}}', '{"a":{"b":{"c":5}}}'),
    ("awk '{print $1}'", "awk '{print $1}'"),
    ("${HOME}", "${HOME}"),
    ("{a,b}", "{a,b}"),
    ("{1..5}", "{1..5}"),
    (r"\d{2,4}", r"\d{2,4}"),
    ("find {}", "find {}"),
    ("find . -exec cp {} out \\;", "find . -exec cp {} out \\;"),
    ("f() { …; }", "f() { …; }"),
    ("${VAR:-{job}}", "${VAR:-5}"),
    ("${{seed}}", "${seed}"),
    ("file:///d/{job}.pkl", "file:///d/5.pkl"),
    # rule 1
    ("{{", "{"),
    ("}}", "}"),
    ("{{job}}", "{job}"),
    ("{{{job}}}", "{5}"),
    ("{{{{", "{{"),
    ("a }} b", "a } b"),
    ('{"a": {}}', '{"a": {}}'),
    ("{;{;}}", "{;{;}}"),
    # rule 2
    ("${X}${Y}", "${X}${Y}"),
    ("${seeds}", "${seeds}"),
    ("${#X}", "${#X}"),
    ("$x {x}", "$x 3"),
    ("$ {x}", "$ 3"),
    # rule 3
    ("{job}", 5),
    ("{ job }", 5),
    ("job {job}.", "job 5."),
    ("{job:d}", "5"),
    ("{job:6d}", "     5"),
    ("{job:06d}", "000005"),
    ("{seed:x}", "4e25"),
    ("{seed:08X}", "00004E25"),
    ("{job:o}", "5"),
    ("{task:6s}|", "sim   |"),
    ("{job:4s}|", "5   |"),
    ("{job:s}", "5"),
    ("{x - 5}", -2),
    ("{-x}", -3),
    ("{7 // 2 * x}", 9),
    ("{-7 // 2 + 0*x}", -4),
    ("{-7 % 3 + 0*x}", 2),
    ("{(job + 1) * 2}", 12),
    ("{1 + 2 * x}", 7),
    ("{10 - 2 - x}", 5),
    ("{list[1]}", 20),
    ("{list[x - 1][0]}", 30),
    ("{table.key.deep + 1}", 8),
    ("{table.text}", "t"),
    ("{list}", [10, 20, [30]]),
    ("{table}", {"key": {"deep": 7}, "text": "t"}),
    ("{big * 1}", 2**100),
    ("{flag}", True),
    ("is {flag}", "is true"),
    ("{gamma}", 2.5),
    ("g{gamma}", "g2.5"),
    # rule 4
    ("{unknown, 06d}", "{unknown, 06d}"),
    ("{ job, 1 }", "{ job, 1 }"),
    ("{12}", "{12}"),
    ("{3:d}", "{3:d}"),
    ("{'job'}", "{'job'}"),
    # rule 5
    ("{text}", "a{job}b"),
    ("<{text}>", "<a{job}b>"),
    ("", ""),
    ("no braces", "no braces"),
]

# (text, part of what is said): refused once the names are known
BAD = [
    # examples of the reference
    ("awk '{print}'", "{print} is unknown"),
    ("{x:.2f}", "no format"),
    (r"\frac{a}{b}", "{a} is unknown"),
    ("jq '{job: .id}'", "no format"),
    ("{job,06d}", "no expression"),
    ("${seed}", 'write "{seed}" or "${{seed}}"'),
    # the rest
    ("${seed:-3}", "no expression"),
    ("${job}", "no expression"),
    ("$${job}", "no expression"),
    ("{job{}}", "no expression"),
    ("{job!r}", "no expression"),
    ("}", "closes nothing"),
    ("{{job}", "closes nothing"),
    ('{"a": "{{job}}"}', "closes nothing"),
    ("{", "never closed"),
    ("${X", "never closed"),
    ("{job", "never closed"),
    ("{a..z}", "no expression"),
    ("{job job}", "no expression"),
    ("{job +}", "no expression"),
    ("{(job}", "no expression"),
    ("{list[0}", "no expression"),
    ("{job ** 2}", "no expression"),
    ("{+job}", "no expression"),
    ("{range(job)}", "no expression"),
    ("{2x}", "no expression"),
    ("{job.5}", "no expression"),
    ("{job / 2}", "there is no /"),
    ("{job + 007}", "leading 0"),
    ("{job:}", "no format"),
    ("{job:06}", "no format"),
    ("{job:<5d}", "no format"),
    ("{job:100d}", "no format"),
    ("{job:123s}", "no format"),
    ("{job: d}", "no format"),
    ("{job:d\n}", "no format"),
    ("{x + gamma}", "arithmetic needs integers"),
    ("{x + flag}", "arithmetic needs integers"),
    ("{task + x}", "arithmetic needs integers"),
    ("{task:d}", "arithmetic needs integers"),
    ("{x // (job - 5)}", "division by zero"),
    ("{x % (job - 5)}", "division by zero"),
    ("{list[3]}", "item 3 of a list of 3"),
    ("{list[-1]}", "item -1"),
    ("{task[0]}", "needs a list"),
    ("{list.key}", "needs a table"),
    ("{table.nokey}", "no nokey"),
    ("{big * big}", "more than 128 bits"),
    ("{job + 999999999999999999999999999999999999999}", "more than 128 bits"),
    ("a {list}", "a list cannot stand inside"),
    ("a {table}", "a table cannot stand inside"),
    ("{list:s}", "a list cannot stand inside"),
    ("{" + "job+" * 64 + "1}", "longer than 256"),
]


def complaint(text: str) -> str:
    """What is said of a text that must not be taken."""
    try:
        template = expand.compile(text)
        mistakes = template.mistakes(NAMES)
        if mistakes:
            return "; ".join(f"{m.what}; {m.right}" for m in mistakes)
        return f"taken as {template.value(NAMES)!r}"
    except expand.ExpandError as error:
        return f"{error.what}; {error.right}"


@pytest.mark.parametrize(("text", "value"), GOOD)
def test_text_expands_to(text: str, value: Any) -> None:
    template = expand.compile(text)
    assert template.mistakes(NAMES) == []
    found = template.value(NAMES)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "said"), BAD)
def test_text_is_refused_with_a_hint(text: str, said: str) -> None:
    assert said in complaint(text)


@pytest.mark.parametrize("text", ["awk '{print}'", r"\frac{a}{b}", "jq '{job: .id}'", "{x:.2f}"])
def test_refusals_of_foreign_braces_name_the_escape(text: str) -> None:
    assert '"{{"' in complaint(text)


def test_a_lone_expression_keeps_its_type_but_not_inside_text() -> None:
    assert expand.compile("{job}").value(NAMES) == 5
    assert expand.compile("{job}").expand(NAMES) == "5"
    assert expand.compile("{job}{job}").value(NAMES) == "55"


def test_a_known_name_is_only_refused_where_it_is_known() -> None:
    template = expand.compile("${seed} {seed,1}")
    assert template.mistakes({"job"}) == []
    assert len(template.mistakes({"seed"})) == 2


def test_a_template_lists_its_literal_and_collapsed_braces() -> None:
    template = expand.compile("{{x}} ${HOME} {a,b} {job}")
    assert template.collapsed == [0]
    assert template.literals == [7, 14]
    assert template.names == {"job"}


@given(st.text(alphabet="{}${}ab job:,+-*/%()[]. 019\"'\n", max_size=40))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    complaint(text)


@given(st.text(alphabet=string.printable, max_size=60))
def test_doubled_braces_give_any_text_back(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    template = expand.compile(doubled)
    assert template.mistakes(NAMES) == []
    assert template.value(NAMES) == text


@given(st.integers(-(2**60), 2**60), st.integers(-(2**60), 2**60), st.integers(1, 2**60))
def test_arithmetic_is_that_of_python(a: int, b: int, c: int) -> None:
    names = {"a": a, "b": b, "c": c}
    assert expand.compile("{(a - b) // c * b + a % c}").value(names) == (a - b) // c * b + a % c


# --- what a job sees --------------------------------------------------------------------------


def spec(**changes: Any) -> dict[str, Any]:
    """A task as a node tells it."""
    told = {
        "name": "nugen",
        "task_name": "sim",
        "jobs": 24,
        "cells": 6,
        "matrix": [["flavor", ["e", "mu"]], ["model", [1, 2, 3]]],
        "params": {},
        "env": {"setup": "", "wrap": [], "vars": {}, "clear": True, "keep": []},
        "modules": [{"name": "m0", "run": ["true"]}],
        "inputs": [],
        "outputs": [],
    }
    return told | changes


def test_the_last_axis_of_the_matrix_is_the_fastest() -> None:
    cells = [expand.job_names(spec(), job) for job in range(6)]
    seen = [(names["flavor"], names["model"]) for names in cells]
    assert seen == [("e", 1), ("e", 2), ("e", 3), ("mu", 1), ("mu", 2), ("mu", 3)]


def test_rows_are_slower_than_the_matrix() -> None:
    told = spec(cells=12, jobs=12, foreach_rows=[{"run": "a"}, {"run": "b"}])
    seen = [expand.job_names(told, job)["run"] for job in range(12)]
    assert seen == ["a"] * 6 + ["b"] * 6


def test_a_row_of_a_file_is_passed_in() -> None:
    names = expand.JobNames(spec(cells=12, jobs=12))
    assert names.row_number(7) == 1
    assert names(7, {"run": "{job}"})["run"] == "{job}"


def test_job_is_rep_times_cells_plus_cell() -> None:
    for job in range(24):
        names = expand.job_names(spec(), job)
        assert names["job"] == names["rep"] * 6 + names["cell"] == job
        assert 0 <= names["cell"] < 6


def test_extending_a_dataset_renumbers_nothing() -> None:
    short, long = spec(jobs=12), spec(jobs=600)
    for job in range(12):
        before, after = expand.job_names(short, job), expand.job_names(long, job)
        before.pop("jobs"), after.pop("jobs")
        assert before == after


def test_params_use_params_and_keep_their_types() -> None:
    params = {
        "seed": "{20000 + job}",
        "next": "{seed + 1}",
        "label": "s{seed:06d}",
        "nested": {"list": ["{seed}", "{label}!"], "n": 1},
        "literal": "{{seed}}",
    }
    names = expand.job_names(spec(params=params), 3)
    assert names["next"] == 20004
    assert names["nested"] == {"list": [20003, "s020003!"], "n": 1}
    assert names["literal"] == "{seed}"


def test_inserted_text_is_never_scanned_again() -> None:
    told = spec(params={"a": "{{job}}", "b": "<{a}>"}, cells=1, matrix=[])
    assert expand.job_names(told, 3)["b"] == "<{job}>"


def test_params_in_a_circle_are_named() -> None:
    with pytest.raises(expand.ParamCircle, match="a -> b -> a"):
        expand.JobNames(spec(params={"a": "{b}", "b": "{a}", "c": "{a}"}))


def test_params_may_use_each_other_twenty_deep_and_no_deeper() -> None:
    chain = {"p0": 1} | {f"p{n}": f"{{p{n - 1} + 1}}" for n in range(1, 22)}
    with pytest.raises(expand.ExpandError, match="20 deep"):
        expand.JobNames(spec(params=chain))
    chain.pop("p21")
    assert expand.job_names(spec(params=chain), 0)["p20"] == 21


def test_tables_may_be_nested_twenty_deep_and_no_deeper() -> None:
    value: Any = "{job}"
    for _ in range(20):
        value = [value]
    expand.Tree(value)
    with pytest.raises(expand.ExpandError, match="deeper than 20"):
        expand.Tree([value])


def test_values_that_multiply_each_other_are_refused() -> None:
    text = {"a0": "{job}" + "x" * 1000} | {f"a{n}": f"{{a{n - 1}}}" * 100 for n in range(1, 20)}
    with pytest.raises(expand.ExpandError, match="more than 1048576 characters"):
        expand.job_names(spec(params=text), 1)
    lists = {"a0": ["{job}"]} | {f"a{n}": [f"{{a{n - 1}}}"] * 100 for n in range(1, 20)}
    with pytest.raises(expand.ExpandError, match="more than 1048576 characters"):
        expand.job_names(spec(params=lists), 1)
    many = {f"p{n}": "{job}" + "x" * 10_000 for n in range(200)}
    with pytest.raises(expand.ExpandError, match="more than 1048576 characters"):
        expand.job_names(spec(params=many), 1)


@pytest.mark.parametrize(
    "module",
    [
        {"run": ["{a}" * 1050]},
        {"run": ["{a}"] * 1050},
        {"run": ["x"], "write": {"f": [["{a}"] * 1050]}},
        {"run": ["x"], "write": {"f": "{a}" * 600, "g": "{a}" * 600}},
        {"run": ["x"], "env": {"vars": {"A": "{a}" * 600, "B": "{a}" * 600}}},
    ],
)
def test_a_unit_larger_than_memory_is_refused(module: dict[str, Any]) -> None:
    with pytest.raises(expand.ExpandError, match="more than 1048576 characters"):
        unit(modules=[{"name": "m0", **module}], params={"a": "{job}" + "x" * 1000})


# --- what a unit runs -------------------------------------------------------------------------


def unit(job: int = 3, **changes: Any) -> dict[str, Any]:
    return expand.TaskTemplate(spec(**changes)).unit(job)


def test_run_and_streams_are_text() -> None:
    module = {"name": "m0", "run": ["gen", "{job}"], "stdin": "{job}.txt", "cwd": "d{job}"}
    made = unit(modules=[module])["modules"][0]
    assert made["run"] == ["gen", "3"]
    assert (made["stdin"], made["cwd"]) == ("3.txt", "d3")


def test_scripts_and_setup_are_never_expanded() -> None:
    module = {"name": "m0", "script": "echo {job} ${job} }", "env": {"setup": "f() { {job}; }"}}
    made = unit(modules=[module])["modules"][0]
    assert made["script"] == "echo {job} ${job} }"
    assert made["env"]["setup"] == "f() { {job}; }"


def test_a_module_without_expansion_is_literal_but_the_outer_environment_is_not() -> None:
    module = {
        "name": "m0",
        "expand": False,
        "run": ["{job}", "}"],
        "write": {"{job}": {"a": "{job}"}},
        "cwd": "{job}",
        "env": {"vars": {"INNER": "{job}"}},
    }
    env = {"setup": "", "wrap": ["w{job}"], "vars": {"OUTER": "{job}"}, "clear": True, "keep": []}
    made = unit(modules=[module], env=env)["modules"][0]
    assert made["run"] == ["{job}", "}"]
    assert made["write"] == {"{job}": {"a": "{job}"}}
    assert made["cwd"] == "{job}"
    assert made["env"]["vars"] == {"OUTER": "3", "INNER": "{job}"}
    assert made["env"]["wrap"] == ["w3"]


def test_vars_merge_and_other_keys_of_the_environment_are_replaced() -> None:
    env = {"setup": "a", "wrap": ["w"], "vars": {"A": "1", "B": "1"}, "clear": True, "keep": ["K"]}
    module = {
        "name": "m0",
        "run": ["x"],
        "env": {"vars": {"B": "{job}"}, "wrap": ["v"], "keep": []},
    }
    made = unit(modules=[module], env=env)["modules"][0]["env"]
    assert made == {
        "setup": "a",
        "wrap": ["v"],
        "vars": {"A": "1", "B": "3"},
        "clear": True,
        "keep": [],
    }


def test_written_files_keep_types_and_expand_names() -> None:
    module = {
        "name": "m0",
        "run": ["x"],
        "write": {"a{job}.json": {"seed": "{job}", "t": "s{job}"}, "b.txt": "seed {job}\n"},
    }
    write = unit(modules=[module])["modules"][0]["write"]
    assert write == {"a3.json": {"seed": 3, "t": "s3"}, "b.txt": "seed 3\n"}
    assert json.loads(expand.written(write["a3.json"])) == {"seed": 3, "t": "s3"}
    assert expand.written(write["b.txt"]) == "seed 3\n"
    assert expand.written(7) == "7"


def test_inputs_and_outputs_are_expanded() -> None:
    inputs = [{"local": "{job}.i3", "from": "https://x/{job}.i3", "optional": False}]
    outputs = [{"path": "o{job}", "to": ["file:///d/{job}"], "optional": True, "temp": False}]
    made = unit(inputs=inputs, outputs=outputs)
    assert made["inputs"] == [{"local": "3.i3", "from": "https://x/3.i3", "optional": False}]
    assert made["outputs"][0]["to"] == ["file:///d/3"]
    assert expand.TaskTemplate(spec(inputs=inputs)).inputs(3) == made["inputs"]


def test_units_do_not_share_what_they_change() -> None:
    template = expand.TaskTemplate(spec(params={"l": ["{job}"]}))
    first = template.unit(1)
    first["names"]["l"].append("x")
    assert template.unit(1)["names"]["l"] == [1]


def test_shell_variables_carry_every_name() -> None:
    names = expand.job_names(spec(params={"seed": "{job}", "l": [1, {"a": "b"}]}), 3)
    shown = expand.shell_values(names)
    assert shown["FLOE_JOB"] == "3"
    assert shown["FLOE_JOBS"] == "24"
    assert shown["FLOE_NAME"] == "nugen"
    assert shown["FLOE_P_seed"] == "3"
    assert shown["FLOE_P_flavor"] == "mu"
    assert shown["FLOE_P_l"] == '[1,{"a":"b"}]'


# --- the pilot's Python ------------------------------------------------------------------------

SCRIPT = """
import json, sys
from pilot import expand
good, bad, names, told = json.load(sys.stdin)
out = []
for text in good + bad:
    try:
        template = expand.compile(text)
        mistakes = template.mistakes(names)
        out.append([m.what for m in mistakes] or template.value(names))
    except expand.ExpandError as error:
        out.append(error.what)
print(json.dumps([out, expand.TaskTemplate(told).unit(3)], sort_keys=True))
"""


def answers(python: str) -> str:
    told = spec(
        params={"seed": "{20000 + job}", "t": {"a": ["{seed}"]}},
        modules=[{"name": "m0", "run": ["x", "{seed:06d}"], "write": {"f": {"s": "{t}"}}}],
    )
    cases = json.dumps([[text for text, _ in GOOD], [text for text, _ in BAD], NAMES, told])
    run = subprocess.run(
        [python, "-c", SCRIPT],
        input=cases.encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        cwd=ROOT,
    )
    return run.stdout.decode()


@pytest.mark.skipif(not OLD_PYTHON.exists(), reason="no Python 3.6 here; vermin guards the floor")
def test_python_3_6_gives_the_same_answers() -> None:
    import sys

    assert answers(str(OLD_PYTHON)) == answers(sys.executable)

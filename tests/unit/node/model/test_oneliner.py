"""Command lines as descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model import toml
from node.model.document import load
from node.model.oneliner import as_toml, default_name, from_command
from node.model.problems import Invalid
from tests.unit.node.model.drafts import NONCE, built


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "sim.py").write_text("#!/usr/bin/env python3\n")
    (tmp_path / "sim.py").chmod(0o755)
    (tmp_path / "cfg").mkdir()
    (tmp_path / "cfg/a.json").write_text("{}")
    (tmp_path / "runs.csv").write_text("run,seed\na,7\nb,8\n")
    return tmp_path


def test_the_command_of_the_first_page(here: Path) -> None:
    table = from_command(["./sim.py", "--seed", "{job}"], jobs=1000, base_dir=here)
    assert table == {
        "floe": 1,
        "name": "sim",
        "jobs": 1000,
        "files": ["sim.py"],
        "task": [{"name": "main", "module": [{"run": ["./sim.py", "--seed", "{job}"]}]}],
    }
    made = built(table, here)
    assert (made.jobs, made.units, [f.to for f in made.files]) == (1000, 1000, ["sim.py"])


def test_all_options_have_their_place(here: Path) -> None:
    table = from_command(
        ["python3", "sim.py", "{g}", "{run}"],
        name="fit",
        jobs=2,
        foreach="runs.csv",
        matrix=("g=1,2,3", "flavor=NuE,NuMu"),
        files=("cfg/a.json",),
        outputs=("fit.npz",),
        env=("OMP_NUM_THREADS=1", "OPTS=a=b,c"),
        cpu=2,
        gpu=1,
        memory="2GB",
        disk="5GB",
        time="4h",
        retry=0,
        group="simprod",
        priority=70,
        base_dir=here,
    )
    spec = built(table, here).spec
    assert (spec.name, spec.group, spec.priority) == ("fit", "simprod", 70)
    assert (spec.jobs, spec.cells) == (2 * 2 * 6, 12)
    assert (spec.tasks[0].needs.memory_bytes, spec.tasks[0].needs.time_s) == (2 * 10**9, 14_400)
    assert spec.tasks[0].retry_max == 0
    assert {f.to for f in spec.files} == {"sim.py", "cfg/a.json"}
    assert table["matrix"] == {"g": [1, 2, 3], "flavor": ["NuE", "NuMu"]}
    assert table["env"]["vars"]["OPTS"] == "a=b,c"


OPTIONS: list[dict[str, Any]] = [
    {"jobs": 1000},
    {"foreach": "runs.csv"},
    {"matrix": ("g=1,2,3",)},
    {"matrix": ("z=1,2", "a=x,y"), "jobs": 3, "outputs": ["o.npz", "p*.png"]},
    {"env": ('Q="\\',), "memory": "2GiB", "retry": 1, "files": ["cfg/a.json"]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_printed_toml_compiles_to_the_same_record(here: Path, options: dict[str, Any]) -> None:
    table = from_command(["./sim.py", "a b", "{{x}}", 'q"\\\n\t', "é"], base_dir=here, **options)
    assert built(as_toml(table), here).document == built(table, here).document


SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
)
TABLES = st.recursive(
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), SCALARS, max_size=3),
    lambda inner: st.dictionaries(
        st.text(max_size=3, alphabet="ab .'\"-_é"),
        inner | SCALARS | st.lists(inner | SCALARS, max_size=3) | st.lists(inner, max_size=3),
        max_size=3,
    ),
    max_leaves=12,
)


@given(TABLES)
def test_any_table_reads_back_from_toml(table: dict[str, Any]) -> None:
    import tomllib

    assert tomllib.loads(toml.dumps(table)) == table


def test_a_program_as_a_word_is_no_file(here: Path) -> None:
    program = "print('a program that is longer than any file name may be')\n" * 200
    table = from_command(["python3", "-c", program], base_dir=here)
    assert "files" not in table


def test_files_that_words_name_are_sent(here: Path) -> None:
    table = from_command(["python3", "sim.py", "--cfg=cfg/a.json", "-n", "5", "x"], base_dir=here)
    assert table["files"] == ["sim.py", "cfg/a.json"]


def test_outputs_folders_braces_and_absolute_paths_are_not_sent(here: Path) -> None:
    (here / "o.npz").write_text("old")
    (here / "{job}").write_text("x")
    run = ["/bin/cat", "cfg", "{job}", "o.npz", str(here / "sim.py")]
    table = from_command(run, outputs=["o.npz"], base_dir=here)
    assert "files" not in table


def test_a_file_given_from_elsewhere_gets_its_own_name(here: Path) -> None:
    table = from_command(["true"], files=[str(here / "sim.py"), "../up/x.dat"], base_dir=here)
    assert table["files"] == [
        {"from": str(here / "sim.py"), "to": "sim.py"},
        {"from": "../up/x.dat", "to": "x.dat"},
    ]


def test_a_program_outside_this_folder_is_refused(here: Path) -> None:
    with pytest.raises(Invalid, match="outside this folder"):
        from_command(["python3", "../sim.py"], base_dir=here / "cfg")


def test_a_script_beside_us_needs_no_dot(here: Path) -> None:
    table = from_command(["sim.py"], base_dir=here)
    assert table["task"][0]["module"][0]["run"] == ["./sim.py"]


def test_bad_options_come_at_once(here: Path) -> None:
    with pytest.raises(Invalid) as caught:
        from_command(["x"], matrix=("g", "a=1", "a=2"), env=("=5",), base_dir=here)
    text = str(caught.value)
    assert text.startswith("command line: 3 problems")
    assert '--matrix  "g" has no name and value; write g=1,2,3' in text
    assert '--matrix  "a" stands here twice' in text
    assert "--env" in text


def test_what_the_command_gets_wrong_is_said_like_in_a_file(here: Path) -> None:
    with pytest.raises(Invalid, match=r"\{nope\} is unknown here"):
        load(from_command(["x", "{nope}"], base_dir=here), here).build(nonce=NONCE)


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (["./sim.py"], "sim"),
        (["python3", "gen.py"], "gen"),
        (["python3.11", "-u", "dir/Gen_X.py", "a"], "gen_x"),
        (["bash", "-c", "echo {job}"], "echo-job"),
        (["/bin/true"], "true"),
        (["./7.sh"], "run-7"),
        (["./é"], "run"),
        (["python3"], "python3"),
        ([], "run"),
    ],
)
def test_a_dataset_is_named_after_its_program(run: list[str], name: str) -> None:
    assert default_name(run) == name

"""[site.NAME] of batch systems: what it may say, and how mistakes are told."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.root import root
from node.cli.settings import written
from node.config import ConfigError, as_tables, parse
from node.provisioning.settings import Factory, factory_of


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def test_a_kind_is_all_that_a_batch_system_needs():
    (system,) = parse('[site.maui]\nkind = "slurm"\n').systems
    assert (system.name, system.kind, system.look_s) == ("maui", "slurm", 30)
    (factory,) = system.factories
    assert factory.cpu is None  # as the units ask
    assert factory.times_s == (7200, 28_800, 86_400, 259_200)


def test_every_setting_of_a_batch_system_is_read():
    (system,) = parse(
        """
        [site.local]
        pilots_max = 0
        [site.alpha-2]
        kind = "slurm"
        pilots_min = 1
        queued_max = 5
        running_max = 50
        submit_max = 10
        submit_every = "1m"
        look = "45s"
        announce = "20m"
        idle = "2m"
        host = "ana@login2"
        url = "https://login2:7422/"
        folder = "/scratch/ana/"
        python = "/opt/py/bin/python3"
        port = 2222
        key = "/home/ana/.ssh/id"
        profile = false
        sessions = 4
        commands = { sbatch = "/opt/bin/sbatch-site" }
        queue = "long"
        account = "ice.cube"
        options = ["--qos=low"]
        lines = ["#SBATCH --nice=100"]
        cpu = 8
        gpu = 1
        memory = "32GB"
        disk = "100GB"
        times = ["24h", "2h"]
        """
    ).systems
    assert (system.pilots_min, system.queued_max, system.running_max) == (1, 5, 50)
    assert (system.submit_max, system.submit_s, system.look_s) == (10, 60, 45)
    assert (system.announce_s, system.idle_s, system.host) == (1200, 120, "ana@login2")
    assert (system.url, system.folder) == ("https://login2:7422", "/scratch/ana")
    assert system.ssh == {
        "port": 2222, "key": "/home/ana/.ssh/id", "profile": False, "sessions": 4,
    }  # fmt: skip
    assert system.commands == {"sbatch": "/opt/bin/sbatch-site"}
    assert system.factories == (
        Factory(
            "default", 8, 1, 32 * 10**9, 10**11, (7200, 86_400), "long", "ice.cube",
            ("--qos=low",), ("#SBATCH --nice=100",),
        ),
    )  # fmt: skip


def test_factories_take_from_the_section_what_they_do_not_say():
    (system,) = parse(
        """
        [site.alpha]
        kind = "sge"
        times = "12h"
        options = ["-P", "ice"]
        [[site.alpha.pilot]]
        name = "small"
        cpu = 1
        [[site.alpha.pilot]]
        name = "gpu"
        gpu = 1
        times = ["4h"]
        options = ["-q", "gpu.q"]
        queued_max = 2
        """
    ).systems
    small, gpu = factory_of(system, "small"), factory_of(system, "gpu")
    assert small is not None
    assert (small.times_s, small.options) == ((43_200,), ("-P", "ice"))
    assert gpu is not None
    assert (gpu.times_s, gpu.queued_max) == ((14_400,), 2)
    assert gpu.options == ("-P", "ice", "-q", "gpu.q")


def test_all_mistakes_in_all_batch_systems_are_told_at_once():
    text = problems(
        """
        [site.a]
        kind = "lsf"
        quued_max = 3
        host = "-oProxyCommand=evil"
        [site.B]
        kind = "slurm"
        [site.c]
        look = "0s"
        folder = "pilots"
        options = ["one\\ntwo"]
        times = []
        [[site.c.pilot]]
        name = "x"
        cpu = 0
        [[site.c.pilot]]
        name = "x"
        """
    )
    assert text.startswith("11 problems")
    assert "site.a.kind  'lsf' is no batch system that is known here; write one of slurm" in text
    assert 'site.a.quued_max  is unknown; did you mean "queued_max"?' in text
    assert "site.a.host  '-oProxyCommand=evil' is no host for ssh" in text
    assert "site.B  is no name" in text
    assert "site.c.kind  is missing" in text
    assert "site.c.look  '0s' is too often for a batch system" in text
    assert "site.c.folder  'pilots' is no absolute path" in text
    assert "site.c.options" in text
    assert "no line of printable characters" in text
    assert "site.c.times" in text
    assert "site.c.pilot[0].cpu  0 is no whole number" in text
    assert "site.c.pilot[1].name  'x' is there twice" in text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("pilots_min = 3\nrunning_max = 2\ncpu = 1", "pilots_min is more than"),
        ("pilots_min = 1", "needs a shape of its own"),
        ("tunnel = true", "say host"),
        ("tunnel = 18443", "say host"),
        ('host = "x"\ntunnel = 70000', "nor a port"),
        ("port = 22", "is for a submit host"),
        ('host = "x"\nkey = "id"', "give an absolute path"),
        ('commands = {sbatch = "x"}', "sbatch"),
        ("schedd = 'x'", "unknown"),
        ('gpu_name = "a b"', "no name of a resource"),
        ("pilot = 3", "no list of tables"),
        ("pilot = [3]", "is no table"),
        ('queue = "a b"', "no such name"),
        ('queue = "$(reboot)"', "no such name"),
        ('commands = {"rm -rf" = "x"}', "no command"),
        ('commands = {sbatch = ""}', "no program"),
        ('url = "http://x"', "no address of a node"),
        ("submit_max = 100000", "no whole number"),
        ('times = ["1s"]', "too short for a pilot"),
    ],
)
def test_what_cannot_be_is_refused(text: str, word: str):
    assert word in problems(f'[site.a]\nkind = "pbs"\n{text}\n')


def test_settings_in_use_can_be_shown():
    config = parse('[site.a]\nkind = "pbs"\n[site.b]\nkind = "sge"\n[[site.b.pilot]]\ncpu = 2\n')
    assert as_tables(config)["site.a"]["queued_max"] == 20
    shown = written(config)
    assert shown["site.a"]["times"] == ["2h", "8h", "1d", "3d"]
    assert shown["site.a"]["cpu"] is None
    assert shown["site.b"]["pilot"][0]["cpu"] == 2


def test_config_show_marks_as_default_only_what_has_one(tmp_path: Path):
    text = '[site.a]\nkind = "slurm"\n[site.b]\nkind = "sge"\nhost = "ap"\ntunnel = true\n'
    (tmp_path / "config.toml").write_text(text)
    lines = (
        CliRunner().invoke(root, ["--home", str(tmp_path), "config", "show"]).output.splitlines()
    )
    assert 'kind = "slurm"' in lines
    assert "tunnel = false  # default" in lines
    assert "tunnel = true" in lines
    assert "pilots_max = 0  # no pilots on this machine" in lines


def test_what_config_show_prints_can_be_read_again(tmp_path: Path):
    text = '[site.b]\nkind = "sge"\ncommands = {qsub = "qsub-x"}\n[[site.b.pilot]]\ncpu = 2\n'
    (tmp_path / "config.toml").write_text(text)
    shown = CliRunner().invoke(root, ["--home", str(tmp_path), "config", "show"])
    assert shown.exit_code == 0, shown.output
    assert "# disk: as the units ask" not in shown.output  # tables in a list leave it out
    assert parse(shown.output).systems == parse(text).systems


def test_each_kind_has_keys_of_its_own():
    (system,) = parse(
        '[site.a]\nkind = "sge"\npe = "multicore"\nmemory_name = "mem_free"\nper_job = ["gpu"]\n'
    ).systems
    assert system.more == {"pe": "multicore", "memory": "mem_free", "per_job": ("gpu",)}


def test_a_submit_host_runs_no_pilots_itself_unless_it_is_told_to():
    assert parse('[site.a]\nkind = "sge"\n').local.pilots_max == 0
    assert parse('[site.a]\nkind = "sge"\n[site.local]\n').local.pilots_max == 1


def test_a_batch_system_without_job_arrays_gets_one_pilot_a_submission():
    text = '[site.lyon]\nkind = "torque"\nsubmit_max = 10\n'
    assert parse(text).systems[0].submit_max == 10
    assert parse(text + "arrays = false\n").systems[0].submit_max == 1

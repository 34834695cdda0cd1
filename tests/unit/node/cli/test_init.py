"""floe init and what it leaves; config, keys, doctor, completion."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest

from keys.certificate import load_api_certificate
from keys.identity import SiteKey
from keys.sshsig import PublicKey, verify
from node.config import load
from node.home import Home
from node.model.person import read_person
from tests.unit.node.cli.conftest import Floe


@pytest.fixture
def empty(home: Home) -> Home:
    """A home in which nothing is, not even the person's key."""
    home.client.unlink()
    return home


def test_init_makes_keys_settings_and_a_signed_enrolment(
    floe: Floe, empty: Home, key: Path
) -> None:
    shown = floe("init", "--name", "desy", "--user", "ana", "--group", "nu", "--key", str(key))
    assert shown.status == 0, shown.err
    site = SiteKey.load(empty.site_key).site
    assert load_api_certificate(empty.api_certificate).fingerprint
    enrolment = json.loads(empty.enrol.read_bytes())
    document = base64.b64decode(enrolment["document"])
    signer = verify(document, base64.b64decode(enrolment["signature"]))
    order = read_person(document)
    assert signer.raw == order.key.raw == PublicKey.parse(enrolment["key"]).raw
    assert (order.name, order.groups, order.roles) == ("ana", ("nu",), ("admin",))
    assert order.site == site
    assert load(empty.config).name == "desy"


def test_nothing_in_the_home_is_open_to_others(floe: Floe, empty: Home) -> None:
    assert floe("init", "--name", "desy").status == 0
    for path in [empty.path, *empty.path.rglob("*")]:
        if path.suffix != ".pub":
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_without_a_key_one_is_made_and_its_place_is_said(floe: Floe, empty: Home) -> None:
    shown = floe("init", "--name", "desy", "--user", "ana")
    assert shown.status == 0, shown.err
    assert str(empty.user_key) in shown.out
    assert empty.user_key.exists()
    assert floe("keys", "show", "--json").json()["user_file"] == str(empty.user_key)


def test_the_usual_key_is_used_where_there_is_one(floe: Floe, empty: Home) -> None:
    usual = Path("~/.ssh/id_ed25519").expanduser()
    usual.parent.mkdir(parents=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(usual)]
    subprocess.run(argv, check=True)
    usual.with_suffix(".pub").unlink()  # some people have no .pub file
    assert floe("init", "--name", "desy").status == 0
    assert not empty.user_key.exists()
    assert str(usual) in empty.client.read_text()


def test_a_second_init_changes_nothing(floe: Floe, empty: Home) -> None:
    floe("init", "--name", "desy")
    before = empty.site_key.read_bytes()
    assert floe("init", "--name", "other").status == 1
    assert empty.site_key.read_bytes() == before


def test_init_says_where_other_sites_reach_this_one(floe: Floe, empty: Home) -> None:
    words = ["--mesh-port", "7000", "--address", "desy.example", "--address", "192.0.2.7:99"]
    assert floe("init", "--name", "desy", *words).status == 0
    mesh = load(empty.config).mesh
    assert (mesh.listen, mesh.dial_only) == ("0.0.0.0:7000", False)
    assert mesh.addresses == ("desy.example", "192.0.2.7:99")


def test_a_site_behind_a_firewall_only_dials(floe: Floe, empty: Home) -> None:
    assert floe("init", "--name", "desy", "--dial-only").status == 0
    assert load(empty.config).mesh.dial_only


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--address", "de sy"], "cannot be dialled"),
        (["--address", 'x"]\nusers = false\n#'], "cannot be dialled"),
        (["--address", "desy", "--dial-only"], "drop one"),
        (["--mesh-listen", ""], "no address"),
    ],
)
def test_an_address_that_cannot_be_dialled_makes_no_site(
    floe: Floe, empty: Home, words: list[str], said: str
) -> None:
    shown = floe("init", "--name", "desy", *words)
    assert shown.status == 1
    assert said in shown.err
    assert not empty.exists()


@pytest.mark.parametrize(
    "words",
    [("--name", "De sy"), ("--name", "desy", "--user", "Ana!"), ("--name", "desy", "--group", "-")],
)
def test_a_bad_name_leaves_no_site(floe: Floe, empty: Home, words: tuple[str, ...]) -> None:
    assert floe("init", *words).status == 1
    assert not empty.exists()


def test_a_key_of_another_type_leaves_no_site(floe: Floe, empty: Home, tmp_path: Path) -> None:
    other = tmp_path / "id_ecdsa"
    argv = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(other)]
    subprocess.run(argv, check=True)
    shown = floe("init", "--name", "desy", "--key", str(other))
    assert shown.status == 1
    assert "ed25519" in shown.err
    assert not empty.exists()
    assert not empty.api_certificate.exists()
    assert floe("init", "--name", "desy").status == 0


def test_systemd_prints_a_unit_and_makes_nothing(floe: Floe, empty: Home) -> None:
    shown = floe("init", "--systemd")
    assert shown.status == 0
    assert shown.out.startswith("[Unit]")
    assert f'Environment="FLOE_HOME={empty.path}"' in shown.out
    assert "KillMode=process" in shown.out
    assert not empty.exists()


def test_settings_given_to_init_are_in_force(floe: Floe, empty: Home) -> None:
    floe("init", "--name", "desy", "--api-port", "7422", "--slots", "3", "--network-home")
    config = load(empty.config)
    assert config.api.listen == "127.0.0.1:7422"
    assert config.local.slots == 3
    assert config.store.network_home


def test_the_whole_machine_is_shown_in_words(floe: Floe, empty: Home) -> None:
    floe("init", "--name", "desy")
    shown = floe("config", "show").out
    assert 'memory = "0B"  # all of it, default' in shown
    empty.config.write_text('name = "desy"\n[site.local]\ndisk = "2GB"\n')
    assert 'disk = "2GB"\n' in floe("config", "show").out


def test_config_check_tells_every_problem(floe: Floe, empty: Home) -> None:
    floe("init", "--name", "desy")
    assert floe("config", "check").status == 0
    empty.config.write_text('name = "desy"\ncolour = 1\n[api]\nlisten = "x"\n')
    shown = floe("config", "check", "--json")
    assert shown.status == 1
    assert len(shown.json()["problems"]) >= 2
    assert "colour" in floe("config", "show").err


def test_up_and_down_without_a_site(floe: Floe, empty: Home) -> None:
    assert floe("up", "--detach").status == 1
    assert "no node runs here" in floe("down").out


def test_doctor_finds_an_open_home_and_a_missing_node(floe: Floe, empty: Home) -> None:
    floe("init", "--name", "desy")
    empty.path.chmod(0o755)
    shown = floe("doctor", "--json")
    assert shown.status == 1
    found = {finding["what"]: finding["result"] for finding in shown.json()["findings"]}
    assert found["home"] == "FAIL"
    assert found["node"] == "FAIL"
    assert found["your key"] == "ok"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(floe: Floe, empty: Home, shell: str) -> None:
    shown = floe("completion", shell)
    assert shown.status == 0
    assert "_FLOE_COMPLETE" in shown.out


def test_verify_without_a_store_says_so(floe: Floe, empty: Home) -> None:
    floe("init", "--name", "desy")
    assert "no store" in floe("verify").err
    assert floe("store", "rebuild").status == 1

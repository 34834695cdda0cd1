"""config.toml: what it may say, and how mistakes are told."""

import pytest

from node.config import Config, ConfigError, load, parse


def problems(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def test_an_empty_or_missing_file_means_every_default(tmp_path):
    assert parse("") == load(tmp_path / "config.toml") == Config()


def test_every_setting_is_read():
    config = parse(
        """
        name = "desy"
        [api]
        listen = "0.0.0.0:7422"
        url = "https://login2:7422"
        names = ["login2"]
        [store]
        network_home = true
        blobs_max = "2TB"
        free_min = "1GiB"
        [site.local]
        pilots_min = 1
        pilots_max = 3
        slots = 8
        gpus = 2
        memory = "32GB"
        disk = "100GB"
        idle = "10m"
        [mesh]
        listen = "[::]:7000"
        addresses = ["login1.desy.example", "192.0.2.7:7421"]
        users = false
        """
    )
    assert (config.name, config.api.listen, config.api.names) == (
        "desy",
        "0.0.0.0:7422",
        ("login2",),
    )
    assert (config.store.blobs_bytes_max, config.store.free_bytes_min) == (2 * 10**12, 1 << 30)
    assert config.store.network_home
    local = config.local
    assert (local.pilots_min, local.pilots_max, local.slots, local.gpus) == (1, 3, 8, 2)
    assert (local.memory_bytes, local.idle_s) == (32 * 10**9, 600)
    assert config.mesh.addresses == ("login1.desy.example", "192.0.2.7:7421")
    assert (config.mesh.listen, config.mesh.dial_only, config.mesh.users) == (
        "[::]:7000",
        False,
        False,
    )


def test_all_mistakes_are_told_at_once_with_their_places():
    text = problems('nam = "x"\n[api]\nlisten = 7\n[site.local]\nmemory = "4 gigs"\nslots = 0\n')
    assert text.startswith("4 problems")
    assert 'nam  is unknown; did you mean "name"?' in text
    assert "api.listen  7 is no string" in text
    assert "site.local.memory  '4 gigs' is no size; write" in text
    assert "site.local.slots  0 is no whole number from 1" in text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name = ", "no TOML"),
        ("x = " + "[" * 5000, "no TOML"),
        ('name = "Desy"', "no site name"),
        ('name = ""', "no site name"),
        ("api = 3", "no table"),
        ("site = []", "no table"),
        ('[api]\nlisten = "7422"', "no address"),
        ('[api]\nlisten = "x:99999"', "no address"),
        ('[api]\nnames = "x"', "no list"),
        ("[store]\nnetwork_home = 1", "neither true nor false"),
        ("[store]\nblobs_max = 5", "no size"),
        ("[site.local]\npilots_max = true", "no whole number"),
        ("[site.local]\npilots_min = 2", "more than site.local.pilots_max"),
        ('[site.local]\nidle = "5"', "no time"),
        ("[site.slurm]", "site.slurm.kind  is missing"),
        ('[mesh]\naddresses = "desy:7421"', "no list"),
        ('[mesh]\naddresses = ["de sy"]', "cannot be dialled"),
        ('[mesh]\naddresses = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]', "too many"),
        ('[mesh]\ndial_only = true\naddresses = ["desy"]', "drop one"),
        ("[mesh]\nport = 7421", "unknown"),
        ('[mesh]\nunreachable_after = "5s"', "too short"),
    ],
)
def test_each_kind_of_mistake_has_its_words(text, word):
    assert word in problems(text)


@pytest.mark.parametrize(
    "content", [b"\xff", b"x" * (1024 * 1024 + 1), b"port = " + b"1" * 5000, b"a = " + b"[" * 3000]
)
def test_files_that_are_no_settings_at_all_are_named(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ("https://127.0.0.1:7422",)),
        ('listen = "10.0.0.1:0"', ("https://10.0.0.1:7422",)),
        ('listen = "0.0.0.0:0"', ("https://login1:7422", "https://127.0.0.1:7422")),
        ('listen = "[::]:0"', ("https://login1:7422", "https://[::1]:7422")),
        ('listen = "0.0.0.0:0"\nurl = "https://gate:1"', ("https://gate:1",)),
    ],
)
def test_pilots_on_other_machines_are_told_where_the_api_is(text, told):
    assert parse(f"[api]\n{text}").api.told(7422, "login1") == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ("login1:7777",)),
        ('listen = "[::]:7421"', ("login1:7777",)),
        ('listen = "127.0.0.1:0"', ("127.0.0.1:7777",)),
        ('listen = "[::1]:0"', ("[::1]:7777",)),
        ('addresses = ["desy.example", "[2001:db8::1]", "nat.example:99"]',
         ("desy.example:7777", "[2001:db8::1]:7777", "nat.example:99")),
        ("dial_only = true", ()),
    ],
)  # fmt: skip
def test_a_site_tells_others_where_it_can_be_dialled(text, told):
    assert parse(f"[mesh]\n{text}").mesh.told(7777, "login1") == told


def test_a_host_whose_name_cannot_be_dialled_tells_nothing():
    assert Config().mesh.told(7421, "my host") == ()

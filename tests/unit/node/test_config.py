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
        ("[site.slurm]", "unknown; known: local"),
    ],
)
def test_each_kind_of_mistake_has_its_words(text, word):
    assert word in problems(text)


@pytest.mark.parametrize("content", [b"\xff", b"x" * (1024 * 1024 + 1)])
def test_files_that_are_no_settings_at_all_are_named(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load(path)

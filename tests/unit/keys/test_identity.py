"""The site key and its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import signing
from keys.identity import KeyFileError, SiteKey, parse, short, show
from keys.signing import BadKey, Purpose


def test_a_created_key_is_the_loaded_one(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    created, loaded = SiteKey.create(path), SiteKey.load(path)
    assert (created.site, created.seed) == (loaded.site, loaded.seed)
    signing.verify(created.site, Purpose.ENTRY, b"data", loaded.sign(Purpose.ENTRY, b"data"))
    assert SiteKey.create(tmp_path / "other.key").site != created.site


def test_the_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        SiteKey.create(tmp_path / "site.key")
    finally:
        os.umask(old)
    assert (tmp_path / "site.key").stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    SiteKey.create(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="exists already"):
        SiteKey.create(path)
    (tmp_path / "link.key").symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeyFileError):
        SiteKey.create(tmp_path / "link.key")
    assert path.read_bytes() == before
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    SiteKey.create(path)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(KeyFileError, match="chmod 600"):
            SiteKey.load(path)


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"site\.key"):
        SiteKey.load(tmp_path / "site.key")
    with pytest.raises(KeyFileError, match="nowhere"):
        SiteKey.create(tmp_path / "nowhere" / "site.key")


@given(st.data())
def test_a_damaged_file_is_never_another_identity(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("keys") / "site.key"
    SiteKey.create(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    path.write_bytes(content)
    with pytest.raises(KeyFileError):
        SiteKey.load(path)


def test_another_line_end_is_damage_too(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    SiteKey.create(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    with pytest.raises(KeyFileError, match="damaged"):
        SiteKey.load(path)


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"\xff\xfe\n\n\n", b"icefloe site key 1\n"])
def test_what_is_no_key_file_is_said_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError):
        SiteKey.load(path)


@given(st.binary(min_size=32, max_size=32))
def test_parse_inverts_show(seed: bytes) -> None:
    site = SiteKey(seed).site
    assert parse(show(site)) == parse(f" {show(site).upper()}\n") == site
    assert len(show(site)) == 52
    assert show(site) == show(site).lower()
    assert "=" not in show(site)


@pytest.mark.parametrize("text", ["", "a" * 51, "a" * 53, "1" * 52, "ä" * 52, "a" * 52])
def test_what_is_no_site_is_refused(text: str) -> None:
    with pytest.raises(BadKey):
        parse(text)


def test_a_site_has_one_written_form() -> None:
    shown = show(SiteKey(bytes(32)).site)
    last = "abcdefghijklmnopqrstuvwxyz234567".index(shown[-1])
    for bits in range(1, 16):
        with pytest.raises(BadKey):
            parse(shown[:-1] + "abcdefghijklmnopqrstuvwxyz234567"[last | bits])


def test_the_short_form_is_for_people() -> None:
    site = SiteKey(bytes(32)).site
    assert short("desy", site) == f"desy·{show(site)[:8]}"


def test_the_secret_is_not_in_the_repr() -> None:
    key = SiteKey(bytes(range(32)))
    assert show(key.seed)[:8] not in repr(key)
    assert show(key.site)[:8] in repr(key)

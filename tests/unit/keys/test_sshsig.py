"""People's signatures, against the real ssh-keygen both ways."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import signing, sshsig
from keys.signing import BadKey, BadSignature
from keys.sshsig import PublicKey, SigningFailed, armor, dearmor, sign_with_agent_or_key, verify

MESSAGE = b'{"floe":1}\n'

needs_openssh = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed"
)


def keygen(path: Path, *options: str, passphrase: str = "") -> Path:
    argv = ["ssh-keygen", "-q", "-N", passphrase, "-C", "ana@example.org", "-f", path, *options]
    subprocess.run(argv, check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keygen(tmp_path_factory.mktemp("ssh") / "id_ed25519", "-t", "ed25519")


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an agent nor a window to ask in."""
    for name in ("SSH_AUTH_SOCK", "DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # printed once the socket is there
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield
    process.terminate()
    process.wait()
    process.stdout.close()


def public_of(path: Path) -> PublicKey:
    return PublicKey.parse(Path(f"{path}.pub").read_text())


def handmade(
    seed: bytes = bytes(32),
    message: bytes = MESSAGE,
    *,
    namespace: bytes = b"icefloe",
    reserved: bytes = b"",
    hash_name: bytes = b"sha512",
    kind: bytes = b"ssh-ed25519",
    version: int = 1,
    key_tail: bytes = b"",
    signature_tail: bytes = b"",
) -> bytes:
    """A signature blob made here, wherever wanted in a wrong way but properly signed."""

    def string(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    public, secret = signing.keypair(seed)
    hashed = sshsig._HASHES.get(hash_name, sshsig._HASHES[b"sha512"])(message)
    inner = string(namespace) + string(reserved) + string(hash_name)
    signature = signing.sign_raw(secret, b"SSHSIG" + inner + string(hashed))
    blob = b"SSHSIG" + struct.pack(">I", version)
    blob += string(string(kind) + string(public) + key_tail) + inner
    return blob + string(string(kind) + string(signature) + signature_tail)


@needs_openssh
@pytest.mark.parametrize("message", [b"", MESSAGE, bytes(range(256)) * 300])
def test_what_ssh_keygen_signs_we_verify(key: Path, message: bytes) -> None:
    blob = sign_with_agent_or_key(key, message)
    assert verify(message, blob).raw == public_of(key).raw
    with pytest.raises(BadSignature):
        verify(message + b" ", blob)


@needs_openssh
@pytest.mark.parametrize("hash_name", [b"sha256", b"sha512"])
def test_stock_ssh_keygen_verifies_what_we_accept(tmp_path: Path, hash_name: bytes) -> None:
    blob = handmade(hash_name=hash_name)
    signer = verify(MESSAGE, blob)
    (tmp_path / "message.sig").write_text(armor(blob))
    (tmp_path / "signers").write_text(f"ana@example.org {signer.line()}\n")
    argv = ["ssh-keygen", "-Y", "verify", "-n", "icefloe", "-I", "ana@example.org"]
    argv += ["-f", str(tmp_path / "signers"), "-s", str(tmp_path / "message.sig")]
    assert subprocess.run(argv, input=MESSAGE, capture_output=True).returncode == 0
    assert subprocess.run(argv, input=MESSAGE + b" ", capture_output=True).returncode != 0


@needs_openssh
def test_our_signing_passes_stock_verification(tmp_path: Path, key: Path) -> None:
    (tmp_path / "message.sig").write_text(armor(sign_with_agent_or_key(key, MESSAGE)))
    (tmp_path / "signers").write_text(f"ana {public_of(key).line()}\n")
    argv = ["ssh-keygen", "-Y", "verify", "-n", "icefloe", "-I", "ana"]
    argv += ["-f", str(tmp_path / "signers"), "-s", str(tmp_path / "message.sig")]
    subprocess.run(argv, input=MESSAGE, capture_output=True, check=True)


@needs_openssh
def test_sha256_signatures_of_ssh_keygen_verify_too(key: Path) -> None:
    argv = ["ssh-keygen", "-Y", "sign", "-n", "icefloe", "-O", "hashalg=sha256", "-f", str(key)]
    done = subprocess.run(argv, input=MESSAGE, capture_output=True)
    if done.returncode != 0:
        pytest.skip("this ssh-keygen signs with sha512 only")
    assert verify(MESSAGE, dearmor(done.stdout.decode())).raw == public_of(key).raw


@needs_openssh
def test_a_signature_for_another_namespace_is_refused(key: Path) -> None:
    blob = sign_with_agent_or_key(key, MESSAGE, "file")
    assert verify(MESSAGE, blob, "file").raw == public_of(key).raw
    with pytest.raises(BadSignature, match="signed for 'file', not for 'icefloe'"):
        verify(MESSAGE, blob)


@needs_openssh
def test_fingerprint_line_and_comment_are_openssh_s(key: Path) -> None:
    line = Path(f"{key}.pub").read_text()
    shown = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True)
    public = PublicKey.parse(line)
    assert public.fingerprint() in shown.stdout.split()
    assert public.line() == line.strip()
    assert public.comment == "ana@example.org"


@needs_openssh
def test_an_encrypted_key_without_terminal_or_agent_says_what_to_do(tmp_path: Path) -> None:
    path = keygen(tmp_path / "locked", "-t", "ed25519", passphrase="correct horse")
    script = (
        "import sys; from keys.sshsig import *\n"
        "try: sign_with_agent_or_key(sys.argv[1], b'x')\n"
        "except SigningFailed as error: print(error)"
    )
    # A session of its own has no terminal in which ssh-keygen could ask.
    argv = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, start_new_session=True)
    assert "passphrase, which was not given or is wrong" in done.stdout
    assert f"ssh-add {path}" in done.stdout


@needs_openssh
def test_an_encrypted_key_in_the_agent_signs(tmp_path: Path, agent: None) -> None:
    path = keygen(tmp_path / "locked", "-t", "ed25519")
    subprocess.run(["ssh-add", "-q", path], check=True, capture_output=True)
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "correct horse", "-f", path]
    subprocess.run(argv, check=True, capture_output=True)
    assert verify(MESSAGE, sign_with_agent_or_key(path, MESSAGE)).raw == public_of(path).raw
    path.unlink()
    blob = sign_with_agent_or_key(f"{path}.pub", MESSAGE)
    assert verify(MESSAGE, blob).raw == public_of(path).raw


@needs_openssh
@pytest.mark.parametrize(
    ("options", "named"),
    [(["-t", "rsa", "-b", "2048"], "ssh-rsa"), (["-t", "ecdsa"], "ecdsa-sha2-nistp256")],
)
def test_other_key_types_are_named_and_refused(
    tmp_path: Path, options: list[str], named: str
) -> None:
    path = keygen(tmp_path / "other", *options)
    with pytest.raises(SigningFailed, match=named):
        sign_with_agent_or_key(path, MESSAGE)
    with pytest.raises(BadKey, match=named):
        PublicKey.parse(Path(f"{path}.pub").read_text())


@needs_openssh
def test_a_key_that_others_may_read_says_what_to_do(tmp_path: Path) -> None:
    path = keygen(tmp_path / "open", "-t", "ed25519")
    path.chmod(0o644)
    with pytest.raises(SigningFailed, match="chmod 600"):
        sign_with_agent_or_key(path, MESSAGE)


def test_missing_keys_and_programs_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="ssh-keygen -t ed25519"):
        sign_with_agent_or_key(tmp_path / "none", MESSAGE)
    (tmp_path / "some").touch()
    with pytest.raises(SigningFailed, match="not installed"):
        sign_with_agent_or_key(tmp_path / "some", MESSAGE, program="no-such-keygen")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'unknown option -- Y' >&2; exit 1", "too old"),
        ("printf 'a \\033[31mred\\033[0m line\\n' >&2; exit 1", "a \\[31mred\\[0m line"),
        ("exit 3", "no reason"),
        ("echo nonsense", "BEGIN SSH SIGNATURE"),
    ],
)
def test_what_a_broken_program_says_is_passed_on_harmlessly(
    tmp_path: Path, script: str, said: str
) -> None:
    program = tmp_path / "keygen"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(SigningFailed, match=said) as caught:
        sign_with_agent_or_key(program, MESSAGE, program=str(program))
    assert "\033" not in str(caught.value)


WRONG: list[tuple[dict[str, object], str]] = [
    ({"namespace": b"file"}, "signed for"),
    ({"reserved": b"x"}, "more in it"),
    ({"hash_name": b"md5"}, "none of sha256, sha512"),
    ({"kind": b"sk-ssh-ed25519@openssh.com"}, "sk-ssh-ed25519"),
    ({"version": 2}, "version 1"),
    ({"key_tail": b"x"}, "more in it"),
    ({"signature_tail": b"x"}, "within"),
    ({"message": b"other"}, "does not fit"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_signatures_of_another_shape_are_refused(wrong: dict[str, object], said: str) -> None:
    assert verify(MESSAGE, handmade())
    with pytest.raises(BadSignature, match=said):
        verify(MESSAGE, handmade(**wrong))  # type: ignore[arg-type]


@given(st.data())
def test_damaged_signatures_are_bad_and_nothing_else(data: st.DataObject) -> None:
    blob = bytearray(handmade())
    action = data.draw(st.sampled_from(["flip", "cut", "append"]))
    if action == "flip":
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    elif action == "cut":
        del blob[data.draw(st.integers(0, len(blob) - 1)) :]
    else:
        blob += data.draw(st.binary(min_size=1, max_size=2000))
    with pytest.raises(BadSignature):
        verify(MESSAGE, bytes(blob))


@given(st.binary(max_size=400))
def test_noise_is_no_signature(noise: bytes) -> None:
    for blob in (noise, b"SSHSIG\0\0\0\x01" + noise):
        with pytest.raises(BadSignature):
            verify(MESSAGE, blob)


@given(st.binary(min_size=1, max_size=1000))
def test_dearmor_inverts_armor(blob: bytes) -> None:
    text = armor(blob)
    assert dearmor(text) == blob
    assert all(len(line) <= 70 for line in text.splitlines())


@given(st.text(max_size=200))
def test_text_that_is_no_armor_is_refused(text: str) -> None:
    for attempt in (text, f"-----BEGIN SSH SIGNATURE-----{text}"):
        with pytest.raises(BadSignature):
            dearmor(attempt)


BLOB = base64.b64encode(PublicKey(signing.keypair(bytes(32))[0]).blob()).decode()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 ====",
        f"ssh-ed25519 {BLOB[:-4]}",
        f"ssh-ed25519 {BLOB}AAAA",
        f"ssh-ed25519 {BLOB}\nssh-ed25519 {BLOB}",
        f'command="rm" ssh-ed25519 {BLOB}',
        "ssh-ed25519 " + base64.b64encode(PublicKey(bytes(32)).blob()).decode(),
        "ssh-ed25519 " + "A" * 20_000,
    ],
)
def test_lines_that_are_no_key_are_refused(line: str) -> None:
    with pytest.raises(BadKey):
        PublicKey.parse(line)


def test_comments_are_shown_without_control_characters() -> None:
    parsed = PublicKey.parse(f"ssh-ed25519 {BLOB} ana \x1b[31m{'x' * 500}")
    assert parsed.comment.startswith("ana [31mxxx")
    assert len(parsed.comment) == sshsig.COMMENT_CHARS_MAX
    assert PublicKey.parse(f" ssh-ed25519 {BLOB}\n").comment == ""

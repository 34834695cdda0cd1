"""OpenSSH keys of people and their signatures (sshsig): make through ssh-keygen, check here.

Signing runs the system's `ssh-keygen -Y sign`, so agents, passphrases and key tokens work and no
private key is ever read by us. Checking needs no program. Source: OpenSSH's PROTOCOL.sshsig.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from keys import signing
from keys.signing import BadKey, BadSignature

NAMESPACE: Final = "icefloe"
SIGNATURE_BLOB_BYTES_MAX: Final = 1024  # an Ed25519 one has about 180
ARMOR_BYTES_MAX: Final = 2048
KEY_LINE_CHARS_MAX: Final = 16_384  # long enough to name the type of a large RSA key
COMMENT_CHARS_MAX: Final = 256
SIGN_S_MAX: Final = 300.0  # a person may have to type a passphrase or touch a token

_KEY_TYPE: Final = b"ssh-ed25519"
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_ARMOR_COLUMNS: Final = 70
_HASHES: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"sha256": lambda message: hashlib.sha256(message).digest(),
    b"sha512": lambda message: hashlib.sha512(message).digest(),
}
_ADVICE: Final = "make one with: ssh-keygen -t ed25519"


class SigningFailed(Exception):
    """ssh-keygen could not sign; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A person's Ed25519 key: 32 raw bytes, and the comment of its line, for display only."""

    raw: bytes
    comment: str = ""

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """Read `ssh-ed25519 AAAA… comment`; raises BadKey on other types and broken lines."""
        if len(line) > KEY_LINE_CHARS_MAX:
            raise BadKey(f"a key's line has at most {KEY_LINE_CHARS_MAX} characters")
        words = line.strip().split(None, 2)
        if "\n" in line.strip() or len(words) < 2:
            raise BadKey("not one line of an OpenSSH public key: ssh-ed25519 AAAA… comment")
        kind = words[0].encode("utf-8", "replace")
        if kind != _KEY_TYPE:
            raise BadKey(f"{_wrong_type(kind)}; {_ADVICE}")
        raw = _key_of_blob(_unbase64(words[1], BadKey))
        return cls(raw, _clean_comment(words[2] if len(words) > 2 else ""))

    def blob(self) -> bytes:
        """The key as OpenSSH encodes it."""
        return _string(_KEY_TYPE) + _string(self.raw)

    def line(self) -> str:
        """The key as a line of `authorized_keys` or `id_ed25519.pub`, without line end."""
        encoded = base64.b64encode(self.blob()).decode("ascii")
        return f"ssh-ed25519 {encoded} {self.comment}".rstrip()

    def fingerprint(self) -> str:
        """`SHA256:…`, as `ssh-keygen -l` shows it."""
        hashed = base64.b64encode(hashlib.sha256(self.blob()).digest()).decode("ascii")
        return "SHA256:" + hashed.rstrip("=")


def sign_with_agent_or_key(
    path: str | os.PathLike[str],
    message: bytes,
    namespace: str = NAMESPACE,
    *,
    program: str = "ssh-keygen",
) -> bytes:
    """The raw sshsig blob over `message`, made by ssh-keygen with the key at `path`.

    path: a private key, or a public key whose private half is in the agent. May wait for a
    person who types a passphrase, at most SIGN_S_MAX seconds.
    Raises SigningFailed.
    """
    if not os.path.exists(path):
        raise SigningFailed(f"{os.fspath(path)} does not exist; {_ADVICE}")
    argv = [program, "-Y", "sign", "-n", namespace, "-f", os.fspath(path)]
    try:
        done = subprocess.run(argv, input=message, capture_output=True, timeout=SIGN_S_MAX)
    except FileNotFoundError:
        raise SigningFailed(f"{program} is not installed; it comes with OpenSSH") from None
    except OSError as error:
        raise SigningFailed(f"cannot run {program}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SigningFailed(f"{program} gave no signature in {SIGN_S_MAX:.0f} s") from None
    if done.returncode != 0:
        raise SigningFailed(_explain(os.fspath(path), program, done.stderr))
    return _checked_output(os.fspath(path), message, namespace, done.stdout)


def verify(message: bytes, signature_blob: bytes, namespace: str = NAMESPACE) -> PublicKey:
    """The key that signed `message`; raises BadSignature. Whose key it is: ask the log.

    signature_blob: the raw sshsig blob (see `dearmor`).
    """
    if len(signature_blob) > SIGNATURE_BLOB_BYTES_MAX:
        raise BadSignature(f"a signature has at most {SIGNATURE_BLOB_BYTES_MAX} bytes")
    if not signature_blob.startswith(_MAGIC + struct.pack(">I", _VERSION)):
        raise BadSignature("not an SSH signature of version 1")
    rest = signature_blob[len(_MAGIC) + 4 :]
    key_blob, rest = _take(rest)
    named, rest = _take(rest)
    reserved, rest = _take(rest)
    hash_name, rest = _take(rest)
    signed, rest = _take(rest)
    if rest or reserved:
        raise BadSignature("an SSH signature with more in it than version 1 allows")
    if named != namespace.encode():
        raise BadSignature(f"signed for {_plain(named)}, not for {namespace!r}")
    if hash_name not in _HASHES:
        raise BadSignature(f"hash {_plain(hash_name)} is none of sha256, sha512")
    raw = _key_of_signature(key_blob)
    hashed = _HASHES[hash_name](message)
    covered = _MAGIC + _string(named) + _string(b"") + _string(hash_name) + _string(hashed)
    signing.verify_raw(raw, covered, _ed25519_of(signed))
    return PublicKey(raw)


def armor(signature_blob: bytes) -> str:
    """The text form, as ssh-keygen reads and writes it."""
    encoded = base64.b64encode(signature_blob).decode("ascii")
    lines = [encoded[i : i + _ARMOR_COLUMNS] for i in range(0, len(encoded), _ARMOR_COLUMNS)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def dearmor(text: str) -> bytes:
    """The inverse of `armor`; raises BadSignature."""
    if len(text) > ARMOR_BYTES_MAX:
        raise BadSignature(f"an armored signature has at most {ARMOR_BYTES_MAX} characters")
    body = text.strip()
    if not (body.startswith(_BEGIN) and body.endswith(_END)) or len(body) < len(_BEGIN + _END):
        raise BadSignature(f"an armored signature begins with {_BEGIN} and ends with {_END}")
    return _unbase64("".join(body[len(_BEGIN) : -len(_END)].split()), BadSignature)


def _checked_output(path: str, message: bytes, namespace: str, output: bytes) -> bytes:
    """The blob that ssh-keygen printed, known to verify: other key types end here."""
    try:
        blob = dearmor(output[: ARMOR_BYTES_MAX + 1].decode("ascii", "replace"))
        verify(message, blob, namespace)
    except BadSignature as error:
        raise SigningFailed(f"{path} cannot be used: {error}") from None
    return blob


def _explain(path: str, program: str, stderr: bytes) -> str:
    """What ssh-keygen's complaint means for the person at the keyboard."""
    said = " ".join(stderr[:2000].decode("utf-8", "replace").split())
    said = "".join(char for char in said if char.isprintable())[:500]
    if "unknown option" in said or "illegal option" in said or "Too many arguments" in said:
        return f"{program} is too old to sign files; OpenSSH 8.1 or later is needed"
    if "passphrase" in said:
        return (
            f"{path} is protected by a passphrase, which was not given or is wrong;"
            f" try again, or load it into the agent: ssh-add {path.removesuffix('.pub')}"
        )
    if "bad permissions" in said or "too open" in said:
        return f"{path} is open to other accounts; run: chmod 600 {path}"
    return f"{program} could not sign with {path}: {said or 'it gave no reason'}"


def _string(data: bytes) -> bytes:
    """SSH's string: length in 4 bytes, then the bytes."""
    return struct.pack(">I", len(data)) + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    """Split off one SSH string; raises BadSignature when `data` is too short for it."""
    if len(data) < 4:
        raise BadSignature("an SSH signature that ends too early")
    (size,) = struct.unpack_from(">I", data)
    if size > len(data) - 4:
        raise BadSignature("an SSH signature that ends too early")
    return data[4 : 4 + size], data[4 + size :]


def _key_of_blob(blob: bytes) -> bytes:
    """The 32 bytes of an ssh-ed25519 key blob; raises BadKey."""
    try:
        kind, rest = _take(blob)
        if kind != _KEY_TYPE:
            raise BadKey(f"{_wrong_type(kind)}; {_ADVICE}")
        raw, rest = _take(rest)
    except BadSignature:
        raise BadKey("a public key that ends too early") from None
    if rest:
        raise BadKey("a public key with more in it than an ssh-ed25519 key has")
    return signing.check_key(raw)


def _key_of_signature(blob: bytes) -> bytes:
    try:
        return _key_of_blob(blob)
    except BadKey as error:
        raise BadSignature(str(error)) from None


def _ed25519_of(signed: bytes) -> bytes:
    kind, rest = _take(signed)
    signature, rest = _take(rest)
    if kind != _KEY_TYPE or rest:
        raise BadSignature("the signature within is no ssh-ed25519 signature")
    return signature


def _wrong_type(kind: bytes) -> str:
    return f"a key of type {_plain(kind)}; people sign with ssh-ed25519 keys"


def _plain(data: bytes) -> str:
    """Foreign bytes for a message: short and harmless."""
    return repr(data[:40].decode("ascii", "replace"))


def _clean_comment(comment: str) -> str:
    return "".join(char for char in comment if char.isprintable())[:COMMENT_CHARS_MAX].strip()


def _unbase64(text: str, error: type[Exception]) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise error("not base64") from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise error("base64 with bits that none can have")
    return raw

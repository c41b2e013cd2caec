"""The key folder: the signing key, and the last checkpoint that it signed.

Both lie outside the database, so that whoever holds the database alone can neither sign nor roll the log back
unnoticed. The folder is made 0700, its files 0600; files are replaced whole (written beside, flushed, renamed, the
folder flushed), never edited, and by one process at a time.

    signing.key   the private key, in the form that Go's note package reads
    vkey          the public key, to give to verifiers
    secret        what the ids of events that came without one are made with
    registry.keys what personal data in the registry is sealed with: the present key first, then those it replaced
    checkpoint    the last checkpoint signed: the log must always extend it
    retired/      keys that an operator replaced, each with its last checkpoint
"""

import base64
import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.errors import Misconfigured
from ledger.notes import Checkpoint, NoteInvalid, Signer, Verifier, open_checkpoint

_HEADER = "PRIVATE+KEY+"


@dataclass(frozen=True)
class KeyFolder:
    """One installation's key folder."""

    path: Path

    def signer(self, origin: str) -> Signer:
        """The signing key, made at the first call; `Misconfigured` if it is damaged, open to others or foreign."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(self.path):
                return self._signer(origin)
        except OSError as error:
            raise Misconfigured(f"the key folder {self.path} cannot be used: {error}") from error

    def _signer(self, origin: str) -> Signer:
        file, vkey = self.path / "signing.key", self.path / "vkey"
        if self.path.stat().st_mode & 0o022:
            raise Misconfigured(f"others can write to {self.path}; run: chmod 700 {self.path}")
        if not file.exists():
            if self.last_note() is not None:
                raise Misconfigured(f"{file} is gone, but a checkpoint was signed with it; bring the key back")
            self._write_key(Signer(origin, Ed25519PrivateKey.generate()))
        if file.stat().st_mode & 0o077:
            raise Misconfigured(f"{file} can be read by others; run: chmod 600 {file}")
        signer = _parse_signer(file.read_bytes())
        if signer.name != origin:
            raise Misconfigured(f"{file} signs for {signer.name}, but SUYUAN_ORIGIN is {origin}")
        if not vkey.exists() or vkey.read_bytes() != _line(signer.verifier).encode():
            _write_durably(vkey, _line(signer.verifier))  # a replacement was cut off between the two files
        return signer

    def secret(self) -> bytes:
        """The installation's secret, made at the first call after `signer`. Losing it harms no record."""
        return self._secrets("secret")[0]

    def registry_keys(self) -> list[bytes]:
        """The keys of the registry's personal data, the present one first; made at the first call after `signer`.

        Losing them is losing what they sealed.
        """
        return self._secrets("registry.keys")

    def registry_keys_file(self) -> tuple[int, int] | None:
        """Which file the registry's keys are in: another one after each change. None while there is none."""
        try:
            found = (self.path / "registry.keys").stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def set_registry_keys(self, keys: list[bytes]) -> None:
        """Replace the registry's keys; the first is the present one. They are on disk when this returns."""
        with _alone(self.path):
            _write_durably(self.path / "registry.keys", "".join(f"{key.hex()}\n" for key in keys))

    def _secrets(self, name: str) -> list[bytes]:
        """The secrets of 32 bytes in a file of the folder, one a line; one is made where there is no file."""
        file = self.path / name
        with _alone(self.path):
            if not file.exists():
                _write_durably(file, secrets.token_hex(32) + "\n")
        if file.stat().st_mode & 0o077:
            raise Misconfigured(f"{file} can be read by others; run: chmod 600 {file}")
        try:
            found = [bytes.fromhex(line) for line in file.read_text().split()]
        except ValueError:
            found = []
        if not found or any(len(secret) != 32 for secret in found):
            raise Misconfigured(f"{file} is damaged; bring it back from where it is kept")
        return found

    def verifiers(self) -> list[Verifier]:
        """Public keys of this log: the present one, then those retired."""
        files = [self.path / "vkey", *sorted(self.path.glob("retired/*/vkey"))]
        return [_read_vkey(file) for file in files if file.exists()]

    def last_note(self) -> str | None:
        """The last checkpoint signed with the present key, as it was signed, or None."""
        try:
            return (self.path / "checkpoint").read_text(errors="replace")
        except FileNotFoundError:
            return None

    def last_checkpoint(self) -> Checkpoint | None:
        """`last_note`, checked; `Misconfigured` if the present key did not sign it."""
        note = self.last_note()
        if note is None:
            return None
        try:
            return open_checkpoint(note, self.verifiers())
        except NoteInvalid as error:
            raise Misconfigured(f"{self.path / 'checkpoint'} is damaged: {error}") from error

    def keep_note(self, note: str) -> None:
        """Make `note` the last checkpoint signed. It is on disk when this returns."""
        with _alone(self.path):
            _write_durably(self.path / "checkpoint", note)

    def replace(self, signer: Signer) -> Signer:
        """Retire `signer` for good, with its last checkpoint, and make a new key for the same log."""
        folder = self.path / "retired" / signer.verifier.key_id.hex()
        with _alone(self.path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_durably(folder / "vkey", _line(signer.verifier))
            if (note := self.last_note()) is not None:
                _write_durably(folder / "checkpoint", note)
            successor = Signer(signer.name, Ed25519PrivateKey.generate())
            self._write_key(successor)
            (self.path / "checkpoint").unlink(missing_ok=True)
        return successor

    def retired_note(self, signer: Signer) -> str | None:
        """The last checkpoint that a retired key signed."""
        try:
            return (self.path / "retired" / signer.verifier.key_id.hex() / "checkpoint").read_text()
        except FileNotFoundError:
            return None

    def _write_key(self, signer: Signer) -> None:
        seed = base64.b64encode(b"\x01" + signer.key.private_bytes_raw()).decode()
        key_id = signer.verifier.key_id.hex()
        _write_durably(self.path / "signing.key", f"{_HEADER}{signer.name}+{key_id}+{seed}\n")
        _write_durably(self.path / "vkey", _line(signer.verifier))  # made again from the key if this is cut off


def _line(verifier: Verifier) -> str:
    return f"{verifier}\n"


def _read_vkey(file: Path) -> Verifier:
    try:
        return Verifier.parse(file.read_text())
    except ValueError as error:
        raise Misconfigured(f"{file} is damaged: {error}") from error


def _parse_signer(written: bytes) -> Signer:
    name, _, rest = written.decode("utf-8", "replace").strip().removeprefix(_HEADER).partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        data = base64.b64decode(encoded, validate=True)
        signer = Signer(name, Ed25519PrivateKey.from_private_bytes(data[1:]))
    except ValueError:
        raise Misconfigured("the signing key is damaged; bring it back from where it is kept") from None
    if data[:1] != b"\x01" or signer.verifier.key_id.hex() != key_id:
        raise Misconfigured("the signing key is damaged; bring it back from where it is kept")
    return signer


def _write_durably(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, 0o600)
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)
    beside.rename(path)
    with _opened(path.parent) as folder:
        os.fsync(folder)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing: of two that find no key, one makes it and the other takes it."""
    with _opened(folder) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""The key folder: the signing key, and the last checkpoint that it signed.

Both lie outside the database, so that whoever holds the database alone can neither sign nor roll the log back
unnoticed. The folder is 0700, its files 0600; files are replaced whole (written beside, flushed, renamed, the folder
flushed), never edited.

    signing.key   the private key, in the form that Go's note package reads
    vkey          the public key, to give to verifiers
    checkpoint    the last checkpoint signed: the log must always extend it
    retired/      keys that an operator replaced, each with its last checkpoint
"""

import base64
import os
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
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.path / "signing.key"
        if not file.exists():
            if self.last_note() is not None:
                raise Misconfigured(f"{file} is gone, but a checkpoint was signed with it; bring the key back")
            self._write_key(Signer(origin, Ed25519PrivateKey.generate()))
        if file.stat().st_mode & 0o077:
            raise Misconfigured(f"{file} can be read by others; run: chmod 600 {file}")
        signer = _parse_signer(file.read_text())
        if signer.name != origin:
            raise Misconfigured(f"{file} signs for {signer.name}, but SUYUAN_ORIGIN is {origin}")
        return signer

    def verifiers(self) -> list[Verifier]:
        """Public keys of this log: the present one, then those retired."""
        files = [self.path / "vkey", *sorted(self.path.glob("retired/*/vkey"))]
        return [Verifier.parse(file.read_text()) for file in files if file.exists()]

    def last_note(self) -> str | None:
        """The last checkpoint signed with the present key, as it was signed, or None."""
        try:
            return (self.path / "checkpoint").read_text()
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
        _write_durably(self.path / "checkpoint", note)

    def replace(self, signer: Signer) -> Signer:
        """Retire `signer` for good, with its last checkpoint, and make a new key for the same log."""
        folder = self.path / "retired" / signer.verifier.key_id.hex()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_durably(folder / "vkey", f"{signer.verifier}\n")
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
        _write_durably(self.path / "vkey", f"{signer.verifier}\n")
        _write_durably(self.path / "signing.key", f"{_HEADER}{signer.name}+{key_id}+{seed}\n")


def _parse_signer(text: str) -> Signer:
    name, _, rest = text.strip().removeprefix(_HEADER).partition("+")
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
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

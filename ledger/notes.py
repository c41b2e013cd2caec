"""Signed notes, checkpoints, receipts and offline proofs: what leaves the ledger to be checked by others.

Formats, byte for byte: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-proof. A receipt is a signed
note too, of our own text; its first line is never a checkpoint's, so neither can stand for the other.

Pure: keys are values here; where they are kept is `ledger/keys.py`.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.merkle import HASH_BYTES, ProofInvalid, leaf_hash, verify_inclusion

_ED25519 = b"\x01"
_SIGNATURES_MAX = 100
_NOTE_BYTES_MAX = 1_000_000
_NOT_IN_NOTES = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_LINE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


class NoteInvalid(ValueError):
    """The note, key or checkpoint is malformed, or its signature is not good."""


def _key_name(name: str) -> str:
    if not name or "+" in name or any(c.isspace() for c in name) or _NOT_IN_NOTES.search(name):
        raise NoteInvalid(f"{name!r} is no key name: it is empty or holds a space or +")
    return name


def _b64(text: str) -> bytes:
    """RFC 4648, 4, and only the one spelling of a value (3.5): else a changed character could go unnoticed."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteInvalid(f"{text[:80]!r} is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise NoteInvalid(f"{text[:80]!r} is not the one base64 spelling of its bytes")
    return data


@dataclass(frozen=True)
class Verifier:
    """Who may sign: a key's name and its Ed25519 public key. `str()` is its vkey."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _key_name(self.name)
        if len(self.public) != 32:
            raise NoteInvalid(f"an Ed25519 public key has 32 bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """The verifier that a vkey line names; `NoteInvalid` if its parts disagree."""
        name, _, rest = vkey.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        data = _b64(encoded)
        if data[:1] != _ED25519:
            raise NoteInvalid("this is no Ed25519 verifier key")
        verifier = cls(name, data[1:])
        if verifier.key_id.hex() != key_id:
            raise NoteInvalid(f"the key id is {key_id}, it should be {verifier.key_id.hex()}")
        return verifier


@dataclass(frozen=True)
class Signer:
    """A named Ed25519 private key. It is never printed."""

    name: str
    key: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, self.key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Signer({self.verifier})"


def sign_note(text: str, signer: Signer) -> str:
    """`text` as a signed note with one signature. The text must end with a newline."""
    if not text.endswith("\n") or _NOT_IN_NOTES.search(text):
        raise NoteInvalid("a note's text ends with a newline and holds no other control characters")
    signature = signer.verifier.key_id + signer.key.sign(text.encode())
    return f"{text}\n\u2014 {signer.name} {base64.b64encode(signature).decode()}\n"


def open_note(note: str, verifiers: Iterable[Verifier]) -> str:
    """The text of `note` if a known key signed it.

    Signatures of unknown keys are ignored; a known key whose signature is bad makes the whole note bad.
    """
    known = {(v.name, v.key_id): v for v in verifiers}
    if len(note.encode(errors="replace")) > _NOTE_BYTES_MAX:
        raise NoteInvalid(f"the note has more than {_NOTE_BYTES_MAX} bytes")
    text, separator, tail = note.rpartition("\n\n")
    text += "\n"
    if not separator or not tail.endswith("\n"):
        raise NoteInvalid("this is no signed note: text, an empty line, signature lines")
    if _NOT_IN_NOTES.search(note):
        raise NoteInvalid("the note holds a control character or half of a surrogate pair")
    lines = tail[:-1].split("\n")
    if len(lines) > _SIGNATURES_MAX:
        raise NoteInvalid(f"the note has more than {_SIGNATURES_MAX} signatures")
    good = False
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise NoteInvalid(f"{line[:80]!r} is no signature line")
        data = _b64(match[2])
        if len(data) < 5:
            raise NoteInvalid("a signature is too short")
        verifier = known.get((match[1], data[:4]))
        if verifier is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(verifier.public).verify(data[4:], text.encode())
        except InvalidSignature:
            raise NoteInvalid(f"the signature of {verifier.name} is not good") from None
        good = True
    if not good:
        raise NoteInvalid("no key that we know signed this note")
    return text


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The size and root of a log at one moment."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text; extension lines are allowed and ignored."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not _SIZE.fullmatch(lines[1]):
        raise NoteInvalid("this is no checkpoint: origin, size and root, a line each")
    root = _b64(lines[2])
    if len(root) != HASH_BYTES:
        raise NoteInvalid(f"the checkpoint's root has {len(root)} bytes, not {HASH_BYTES}")
    return Checkpoint(lines[0], int(lines[1]), root)


def open_checkpoint(note: str, verifiers: Iterable[Verifier]) -> Checkpoint:
    """The checkpoint in a signed note whose signer's name is its origin."""
    verifiers = list(verifiers)
    checkpoint = parse_checkpoint(open_note(note, verifiers))
    if checkpoint.origin not in {v.name for v in verifiers}:
        raise NoteInvalid(f"the checkpoint is of the log {checkpoint.origin}, which is none of those expected")
    return checkpoint


_PROOF_HEADER = "c2sp.org/tlog-proof@v1"


def format_proof(index: int, proof: list[bytes], checkpoint_note: str) -> str:
    """A C2SP `tlog-proof` file: an entry's place under a signed checkpoint, to be checked offline."""
    hashes = "".join(base64.b64encode(h).decode() + "\n" for h in proof)
    return f"{_PROOF_HEADER}\nindex {index}\n{hashes}\n{checkpoint_note}"


def verify_proof(proof_file: str, entry: bytes, verifiers: Iterable[Verifier]) -> tuple[int, Checkpoint]:
    """The index of `entry` (its stored bytes) and the checkpoint that a `tlog-proof` file proves it under.

    `NoteInvalid` for a malformed file or a bad signature, `ProofInvalid` where the proof does not hold. The log's
    leaf data is the entry's 32-byte SHA-256.
    """
    head, separator, note = proof_file.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines[0] != _PROOF_HEADER:
        raise NoteInvalid(f"this is no proof file: it does not begin with {_PROOF_HEADER}")
    if len(lines) > 1 and lines[1].startswith("extra "):
        _b64(lines.pop(1)[6:])  # nobody's word: it only has to be base64
    if len(lines) < 2 or not lines[1].startswith("index ") or not _SIZE.fullmatch(lines[1][6:]):
        raise NoteInvalid("the proof file names no index")
    checkpoint = open_checkpoint(note, verifiers)
    index = int(lines[1][6:])
    leaf = leaf_hash(hashlib.sha256(entry).digest())
    verify_inclusion(index, checkpoint.size, leaf, [_b64(line) for line in lines[2:]], checkpoint.root)
    return index, checkpoint


_RECEIPT_FORM = "suyuan receipt v1"
_RECEIPT_LINE = re.compile(
    r"([0-9]{9}) ([1-9][0-9]{0,17}) ([0-9a-f]{64})"
    r" ([0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z)"
)


class Recorded(NamedTuple):
    """Where an entry was recorded: node, sequence, hash, record time as in the entry's bytes."""

    node: int
    seq: int
    hash: bytes
    record_time: str
    duplicate: bool = False
    """Whether it had been recorded before, by the same request or an earlier one."""


def format_receipt(origin: str, recorded: Iterable[Recorded], signer: Signer) -> str:
    """A receipt: one signed line for each entry of a request. It binds the ledger to these hashes."""
    lines = "".join(f"{r.node:09d} {r.seq} {r.hash.hex()} {r.record_time}\n" for r in recorded)
    return sign_note(f"{_RECEIPT_FORM}\n{origin}\n{lines}", signer)


def open_receipt(note: str, verifiers: Iterable[Verifier]) -> list[Recorded]:
    """The entries that a receipt vouches for; `NoteInvalid` if it is none or no known key signed it."""
    verifiers = list(verifiers)
    form, *lines = open_note(note, verifiers).split("\n")[:-1]
    if form != _RECEIPT_FORM or not lines or lines[0] not in {v.name for v in verifiers}:
        raise NoteInvalid("this is no receipt of a log whose key is known")
    found = [_RECEIPT_LINE.fullmatch(line) for line in lines[1:]]
    rows = [line.groups() for line in found if line is not None]
    if not rows or len(rows) < len(found):
        raise NoteInvalid("the receipt's lines are not node, sequence, hash and time")
    return [Recorded(int(node), int(seq), bytes.fromhex(digest), at) for node, seq, digest, at in rows]


__all__ = [
    "Checkpoint", "NoteInvalid", "ProofInvalid", "Recorded", "Signer", "Verifier", "format_proof", "format_receipt",
    "open_checkpoint", "open_note", "open_receipt", "parse_checkpoint", "sign_note", "verify_proof",
]  # fmt: skip

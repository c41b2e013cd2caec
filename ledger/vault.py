"""Personal data at rest: sealed with keys from outside the database, found again through a blind index.

A record's private values are one JSON object with a random salt in it. Its SHA-256 is the digest that the ledger keeps:
it gives nothing away, and nothing at all once the values are erased. What the database holds is AES-256-GCM of the
object, bound to its record and version, so that rows cannot be swapped.

The blind index holds 32-bit keyed hashes of whole values, and of the characters and pairs of characters in names and
addresses. Whoever holds the database alone sees which records share a fragment, never which
fragment; what a hash finds by chance is sorted out after opening.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.documents import Json, read_json, write_json
from ledger.errors import LedgerDamaged
from ledger.keys import KeyFolder
from ledger.registers.form import Field, Find, Values, each

SALT_BYTES, NONCE_BYTES, ID_BYTES = 16, 12, 4
FORM = b"\x01"


@dataclass(frozen=True, slots=True)
class Sealed:
    """Private values as the database keeps them, and the digest that the entry keeps."""

    data: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class _Key:
    id: bytes
    cipher: AESGCM
    index: bytes

    @classmethod
    def of(cls, master: bytes) -> "_Key":
        """The keys that a master key stands for, each for one purpose."""
        made = {purpose: hmac.digest(master, purpose, "sha256") for purpose in (b"id", b"seal", b"index")}
        return cls(made[b"id"][:ID_BYTES], AESGCM(made[b"seal"]), made[b"index"])


class Vault:
    """Seals and opens. It notices when the keys are replaced, also by another process."""

    def __init__(self, folder: KeyFolder) -> None:
        self._folder, self._keys = folder, list[_Key]()
        self._file: tuple[int, int] | None = None

    def keys(self) -> list[_Key]:
        """The present key, then those that it replaced."""
        file = self._folder.registry_keys_file() or self._made()
        if file != self._file or not self._keys:
            self._keys = [_Key.of(master) for master in self._folder.registry_keys()]
            self._file = file  # from before they were read: what came in between is read at the next time
        return self._keys

    def _made(self) -> tuple[int, int] | None:
        """The file of the first key, which is made now."""
        self._folder.registry_keys()
        return self._folder.registry_keys_file()

    def seal(self, subject: str, version: int, values: Values, reason: str | None) -> Sealed:
        """The private values of a record's version, with why it was made."""
        salted: Json = {"salt": secrets.token_hex(SALT_BYTES), "values": dict(values), "reason": reason}
        return self.seal_bytes(subject, version, write_json(salted))

    def seal_bytes(self, subject: str, version: int, plain: bytes) -> Sealed:
        """What `open_bytes` gave, sealed with the present key."""
        key, nonce = self.keys()[0], secrets.token_bytes(NONCE_BYTES)
        data = FORM + key.id + nonce + key.cipher.encrypt(nonce, plain, _bound_to(subject, version))
        return Sealed(data, hashlib.sha256(plain).hexdigest())

    def open_bytes(self, subject: str, version: int, data: bytes) -> bytes:
        """What was sealed; `LedgerDamaged` if it was changed, moved, or sealed with a key that is not here."""
        id_, nonce = data[1 : 1 + ID_BYTES], data[1 + ID_BYTES : 1 + ID_BYTES + NONCE_BYTES]
        for key in self.keys():
            if data[:1] == FORM and key.id == id_:
                try:
                    return key.cipher.decrypt(nonce, data[1 + ID_BYTES + NONCE_BYTES :], _bound_to(subject, version))
                except (InvalidTag, ValueError):
                    raise LedgerDamaged(f"the private values of {subject}, version {version}, were changed") from None
        raise LedgerDamaged(f"the private values of {subject}, version {version}, need a key that is not here")

    def open(self, subject: str, version: int, data: bytes) -> tuple[Values, str | None]:
        """The private values of a record's version, and why it was made."""
        plain = read_json(self.open_bytes(subject, version, data))
        return plain["values"], plain["reason"]

    def is_present(self, data: bytes) -> bool:
        """Whether this was sealed with the present key."""
        return data[1 : 1 + ID_BYTES] == self.keys()[0].id

    def tokens(self, fields: Iterable[Field], values: Values) -> list[int]:
        """What a record is found by, under the present key: sorted, each once."""
        return _tokens(self.keys()[0].index, fields, values)

    def tokens_of_each(self, fields: Sequence[Field], values: Values) -> list[list[int]]:
        """The same under each key: while one replaces another, both are right."""
        return [_tokens(key.index, fields, values) for key in self.keys()]

    def wanted(self, field: Field, text: str) -> list[list[int]]:
        """For each key: the tokens that a record must all have, so that its `field` can hold `text`."""
        return [
            sorted({_token(key.index, fragment) for fragment in _asked(field, text)}) for key in self.keys()
        ]  # fmt: skip


def _bound_to(subject: str, version: int) -> bytes:
    return f"{subject}\n{version}".encode()


def _tokens(key: bytes, fields: Iterable[Field], values: Values) -> list[int]:
    return sorted({
        _token(key, fragment)
        for field in fields
        for value in each(values.get(field.name))
        for fragment in _fragments(field, value)
    })  # fmt: skip


def folded(text: str) -> str:
    """How texts are compared: without case and spaces."""
    return "".join(text.casefold().split())


def _fragments(field: Field, value: str) -> Iterator[str]:
    """All that a value is found by."""
    text = folded(value)
    if field.find is not Find.NOT:
        yield f"{field.name}={text}"
    if field.find is Find.TEXT:
        yield from (f"{field.name}~{character}" for character in text)
        yield from (f"{field.name}~{text[at : at + 2]}" for at in range(len(text) - 1))


def _asked(field: Field, text: str) -> Iterator[str]:
    """What of these a record that matches must have."""
    text = folded(text)
    if field.find is not Find.TEXT:
        yield f"{field.name}={text}"
    elif len(text) == 1:
        yield f"{field.name}~{text}"
    else:
        yield from (f"{field.name}~{text[at : at + 2]}" for at in range(len(text) - 1))


@lru_cache(maxsize=65536)
def _token(key: bytes, fragment: str) -> int:
    return int.from_bytes(hmac.digest(key, fragment.encode(), "sha256")[:4], "big", signed=True)


def matches(field: Field, values: Values, text: str) -> bool:
    """Whether the field really holds the text: what `wanted` found may have been chance."""
    asked = folded(text)
    found = (folded(value) for value in each(values.get(field.name)))
    if field.find is Find.TEXT:
        return any(asked in one for one in found)
    return field.find is Find.EXACT and asked in found

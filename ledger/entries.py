"""An entry: one record of the ledger, as bytes that are written once and never again.

The bytes are one JSON object (`v`, `node`, `seq`, `prev`, `recordTime`, `actor`, `kind`, `salt`, `body`, `sealed`);
the entry's hash is SHA-256 of exactly these bytes, so that `sha256sum` checks it. `prev` is the hash of the entry
before in the same node's chain, 32 zero bytes before the first. `salt` keeps outsiders from guessing the body from the
hash. `sealed` is SHA-256 of a second salt and the sealed bytes, which lie beside the entry and can be erased without
touching it. Pure: salts and times are arguments.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import orjson

from ledger.codes import node_text
from ledger.documents import read_json
from ledger.errors import LedgerDamaged, LimitExceeded, UnacceptableEvent

Json = dict[str, Any]

VERSION = 1
GENESIS = bytes(32)
"""What stands for the hash before a chain's first entry."""
SALT_BYTES = 16


class Kind(IntEnum):
    """What an entry records."""

    EVENT = 1
    DOCUMENT = 2
    """The envelope and master data that came with captured events."""
    CHANGE = 3
    """A registry row's new state, with its version."""
    TICK = 4
    """A minute passed, and this was the last checkpoint."""
    DECISION = 5
    """An operator's decision about the log or its key."""
    ERASURE = 6
    """The sealed part of another entry was erased."""
    READING = 7
    """Somebody was shown private values of the registry."""
    REFUSAL = 8
    """A scan was decided against: more was to be taken than is left; or a command for packs was."""
    CHECK = 9
    """Goods were checked at the gate: admitted, refused, or on a condition."""


def commitment(salt: bytes, sealed: bytes) -> bytes:
    """What an entry's bytes hold of its sealed part: SHA-256 of the sealed part's own salt and its bytes."""
    return hashlib.sha256(salt + sealed).digest()


def time_text(at: datetime) -> str:
    """The ledger's own form of a time: UTC, six decimals, Z.

    >>> time_text(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    '2026-01-02T03:04:05.000006Z'
    """
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def encode(
    node: int, seq: int, prev: bytes, record_time: str, actor: str, kind: str, salt: bytes, body: bytes,
    commitment: bytes | None,
) -> bytes:  # fmt: skip
    """The bytes of an entry. `body` is JSON already; `actor` must need no escaping in JSON (see `actor_name`)."""
    sealed = "null" if commitment is None else f'"{commitment.hex()}"'
    before = (
        f'{{"v":{VERSION},"node":"{node:09d}","seq":{seq},"prev":"{prev.hex()}","recordTime":"{record_time}",'
        f'"actor":"{actor}","kind":"{kind}","salt":"{salt.hex()}","body":'
    )
    return before.encode() + body + f',"sealed":{sealed}}}'.encode()


def actor_name(name: str) -> str:
    """`name` if it can stand in an entry unescaped; `ValueError` otherwise. Actors are codes, never people's names."""
    if not name or len(name) > 100 or not name.isascii() or orjson.dumps(name) != b'"%s"' % name.encode():
        raise ValueError(f"{name!r} is no actor: 1 to 100 ASCII characters without quotes and backslashes")
    return name


def hash_of(data: bytes) -> bytes:
    """The hash of an entry: plain SHA-256 of its bytes."""
    return hashlib.sha256(data).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is read: its place, what it says, and the bytes that are hashed."""

    node: int
    seq: int
    prev: bytes
    record_time: datetime
    actor: str
    kind: Kind
    body: Json
    commitment: bytes | None
    data: bytes

    @property
    def name(self) -> str:
        return f"{node_text(self.node)}/{self.seq}"

    @property
    def hash(self) -> bytes:
        return hash_of(self.data)


_FIELDS = ("v", "node", "seq", "prev", "recordTime", "actor", "kind", "salt", "body", "sealed")
_TYPES = {"v": int, "node": str, "seq": int, "prev": str, "recordTime": str, "actor": str, "salt": str, "body": dict}


def decode(data: bytes) -> Entry:
    """The entry that `data` encodes; `LedgerDamaged` with the reason if it is none."""
    try:
        value = read_json(data)
        if tuple(value) != _FIELDS or value["v"] != VERSION:
            raise ValueError(f"its fields are {', '.join(value)}, version {value.get('v')}")
        if not all(type(value[name]) is kind for name, kind in _TYPES.items()):
            raise ValueError("a field holds another kind of value")
        record_time = datetime.fromisoformat(value["recordTime"])
        if time_text(record_time) != value["recordTime"]:
            raise ValueError(f"{value['recordTime']!r} is not how the ledger writes a time")
        node = int(value["node"])
        if node < 0 or node_text(node) != value["node"]:
            raise ValueError(f"{value['node']!r} is not how the ledger writes a node")
        return Entry(
            node=node,
            seq=value["seq"],
            prev=bytes.fromhex(value["prev"]),
            record_time=record_time,
            actor=value["actor"],
            kind=Kind[value["kind"].upper()],
            body=value["body"],
            commitment=None if value["sealed"] is None else bytes.fromhex(value["sealed"]),
            data=data,
        )
    except (ValueError, KeyError, TypeError, AttributeError, UnacceptableEvent, LimitExceeded) as error:
        raise LedgerDamaged(f"these bytes are no entry of version {VERSION}: {error}") from error


def micros(at: datetime, epoch: datetime) -> int:
    """Whole microseconds from `epoch` to `at`."""
    passed = at - epoch
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds

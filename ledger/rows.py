"""Rows in PostgreSQL's binary COPY form, built in two parts.

What does not depend on an entry's place is encoded when a request is prepared, outside every lock: the tail. The head
of a row, node and sequence, comes first in every ledger table's COPY, and is put before the tail when it is known.

Source: PostgreSQL 18, COPY, "Binary Format". Pure.
"""

from datetime import datetime
from struct import Struct

from ledger.entries import micros
from ledger.fields import EPOCH

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

_PLACE = Struct(">iiiq")
_INT2 = Struct(">ih")
_INT4 = Struct(">ii")
_INT8 = Struct(">iq")
_LENGTH = Struct(">i")
_NULL = b"\xff\xff\xff\xff"

# The columns of each COPY, in the order in which rows are built: place first, then what a tail holds.
COLUMNS: dict[str, tuple[str, ...]] = {
    "entry": ("node", "seq", "record_time", "hash", "data", "kind", "salt", "sealed"),
    "event": (
        "node", "seq", "record_time", "type", "action", "event_time", "business_step", "disposition", "read_point",
        "business_location",
    ),
    "event_id": ("node", "seq", "id", "declaration", "digest"),
    "item_entry": ("node", "seq", "item", "role", "action", "event_time"),
    "registry_version": ("node", "seq", "record_time", "subject", "version", "private"),
}  # fmt: skip
COPY = {table: f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)" for table, columns in COLUMNS.items()}
START = {table: len(columns).to_bytes(2, "big") for table, columns in COLUMNS.items()}
"""What every row of a table begins with: how many columns follow."""


def place(node: int, seq: int) -> bytes:
    """The first two columns of every row: node and seq."""
    return _PLACE.pack(4, node, 8, seq)


def int2(value: int) -> bytes:
    """A smallint field."""
    return _INT2.pack(2, value)


def int4(value: int) -> bytes:
    """An integer field."""
    return _INT4.pack(4, value)


def time(at: datetime) -> bytes:
    """A timestamptz field: microseconds since 2000."""
    return _INT8.pack(8, micros(at, EPOCH))


_EVENT = Struct(">ihihiq")
_EVENT_ID = Struct(">i16siqi32s")


def event_start(type_: int, action: int, event_time: datetime) -> bytes:
    """The first fields of an event's tail: type, action, event time."""
    return _EVENT.pack(2, type_, 2, action, 8, micros(event_time, EPOCH))


def event_id(key: bytes, declaration: int, digest: bytes) -> bytes:
    """The tail of an `event_id` row: 16 bytes of key, the declaration's time, 32 bytes of digest."""
    return _EVENT_ID.pack(16, key, 8, declaration, 32, digest)


def data(value: bytes | None) -> bytes:
    """A bytea or uuid field, or NULL."""
    return _NULL if value is None else _LENGTH.pack(len(value)) + value


def text(value: str | None) -> bytes:
    """A text field, or NULL."""
    if value is None:
        return _NULL
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded

"""A draft: an entry with everything that does not depend on its place in a chain.

Preparing is most of the work of a capture and needs no lock, so it is done before a request waits for its commit.
Pure: random salts are an argument.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson

from ledger import rows
from ledger.disclosure import Json, split, whole
from ledger.documents import CapturedEvent, Context, write_json
from ledger.entries import SALT_BYTES, Kind, Sealed, micros
from ledger.errors import LimitExceeded
from ledger.events import EPOCH, parse_time
from ledger.index import columns, mentions

EVENT_ITEMS_MAX = 20_000
EVENT_BYTES_MAX = 4 * 1024 * 1024

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class EventId:
    """What makes an event the same event: its id, and when it was declared in error (0 for never)."""

    id: bytes
    declaration: int


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it has its place. The tails are its rows in binary COPY form, without node and seq."""

    node: int
    kind: Kind
    salt: bytes
    body: bytes
    sealed: Sealed | None = None
    event_id: EventId | None = None
    digest: bytes = b""
    event_tail: bytes = b""
    item_tails: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        return len(self.body) + (len(self.sealed.data) if self.sealed else 0)

    def at(self, node: int) -> "Draft":
        """The same draft in another chain."""
        return replace(self, node=node)


def draft(node: int, kind: Kind, body: Json, random: RandomBytes, sealed: Json | None = None) -> Draft:
    """An entry that is no event: a registry change, a tick, a decision, a document's envelope."""
    salts = random(2 * SALT_BYTES)
    lid = None if sealed is None else Sealed(salts[SALT_BYTES:], write_json(sealed))
    return Draft(node, kind, salts[:SALT_BYTES], write_json(body), lid)


def draft_envelope(node: int, envelope: Json, random: RandomBytes) -> Draft:
    """What a capture document says besides its events (sender, master data …): sealed, since it is trade."""
    digest = hashlib.sha256(write_json(envelope, orjson.OPT_SORT_KEYS)).digest()
    made = draft(node, Kind.DOCUMENT, {"document": {}}, random, envelope)
    return replace(made, event_id=EventId(id_key(content_id(digest)), 0), digest=digest)


def draft_event(node: int, captured: CapturedEvent, random: RandomBytes) -> Draft:
    """A checked event as a draft. Without an eventID it gets one made from its own content, so that sending it again
    is sending the same event. `LimitExceeded` if it names too many items or is too long."""
    event, context = captured.event, captured.context
    digest = digest_of(event, context)
    if "eventID" not in event:
        event = {**event, "eventID": content_id(digest)}
    opened, sealed = split(event)
    body: Json = {"event": opened}
    if context.parts:
        body["@context"] = context.parts
    data = _encoded(body)
    salts = random(2 * SALT_BYTES)
    lid = Sealed(salts[SALT_BYTES:], _encoded(sealed)) if sealed else None
    if len(data) + (len(lid.data) if lid else 0) > EVENT_BYTES_MAX:
        raise LimitExceeded(f"the event {event['eventID']} is larger than {EVENT_BYTES_MAX} bytes")
    event_tail, item_tails = _index_tails(opened)
    if len(item_tails) > EVENT_ITEMS_MAX:
        raise LimitExceeded(f"the event {event['eventID']} names more than {EVENT_ITEMS_MAX} items; split it")
    return Draft(node, Kind.EVENT, salts[:SALT_BYTES], data, lid, event_id_of(event), digest, event_tail, item_tails)


def _encoded(value: Json) -> bytes:
    try:
        return write_json(value)
    except TypeError as error:  # orjson's JSONEncodeError: only an integer beyond 64 bits in an extension field
        raise LimitExceeded(f"an extension field holds what cannot be kept ({error}); write it as a string") from None


def digest_of(event: Json, context: Context) -> bytes:
    """SHA-256 of the event as it came, whatever the order of its keys: same digest, same request.

    The record time is the server's, so one in the input does not count. A declared context does.
    """
    if "recordTime" in event or "@context" in event:
        event = {name: value for name, value in event.items() if name not in ("recordTime", "@context")}
    try:
        data = write_json(event, orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise LimitExceeded(f"an extension field holds what cannot be kept ({error}); write it as a string") from None
    if context.parts:
        data += write_json(context.parts, orjson.OPT_SORT_KEYS)
    return hashlib.sha256(data).digest()


def digest_again(opened: Json, sealed: Json, context: Context) -> bytes:
    """`digest_of` the request behind a stored event, for the audit: an id of our own making was not in it."""
    event = whole(opened, sealed)
    digest = digest_of(event, context)
    name = event.pop("eventID")
    bare = digest_of(event, context)
    return bare if name == content_id(bare) else digest


def content_id(digest: bytes) -> str:
    """The eventID of an event that came without one (RFC 6920: a name made of a hash)."""
    return f"ni:///sha-256;{digest.hex()}?suyuan"


def event_id_of(event: Json) -> EventId:
    """The identity under which the event is recorded."""
    declaration = event.get("errorDeclaration")
    at = 0 if declaration is None else micros(parse_time(declaration["declarationTime"]), EPOCH)
    return EventId(id_key(event["eventID"]), at or (declaration is not None))


def id_key(event_id: str) -> bytes:
    """The first 128 bits of the SHA-256 of an eventID."""
    return hashlib.sha256(event_id.encode()).digest()[:16]


def _index_tails(opened: Json) -> tuple[bytes, tuple[bytes, ...]]:
    found = columns(opened)
    action, event_time = rows.int2(found.action), rows.time(found.event_time)
    event_tail = b"".join(
        (
            rows.int2(found.type), action, event_time, rows.text(found.business_step), rows.text(found.disposition),
            rows.text(found.read_point), rows.text(found.business_location),
        )
    )  # fmt: skip
    pairs = {(mention.key, mention.role) for mention in mentions(opened)}
    end = action + event_time
    return event_tail, tuple(rows.text(key) + rows.int2(role) + end for key, role in sorted(pairs))

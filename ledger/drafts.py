"""A draft: an entry with everything that does not depend on its place in a chain.

Preparing is most of the work of a capture and needs no lock, so it is done before a request waits for its commit.
Pure: random salts are an argument.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import orjson

from ledger import rows
from ledger.codes import node_text
from ledger.disclosure import Json, split, whole
from ledger.documents import CapturedEvent, Context, write_json
from ledger.entries import SALT_BYTES, Kind, commitment, micros
from ledger.errors import LimitExceeded
from ledger.events import EPOCH, parse_time
from ledger.index import Role, columns, mentions

EVENT_ITEMS_MAX = 20_000
EVENT_BYTES_MAX = 4 * 1024 * 1024

RandomBytes = Callable[[int], bytes]


class EventId(NamedTuple):
    """What makes an event the same event: its id, and when it was declared in error (0 for never)."""

    id: bytes
    declaration: int


class Draft(NamedTuple):
    """An entry before it has its place. The tails are its rows in binary COPY form, without what the place decides."""

    node: int
    kind: Kind
    salt: bytes
    body: bytes
    commitment: bytes | None
    entry_tail: bytes
    event_id: EventId | None = None
    digest: bytes = b""
    event_id_tail: bytes = b""
    event_tail: bytes = b""
    item_tails: tuple[bytes, ...] = ()


def draft(node: int, kind: Kind, body: Json, random: RandomBytes, sealed: Json | None = None) -> Draft:
    """An entry that is no event: a registry change, a tick, a decision, a document's envelope."""
    return _draft(node, kind, write_json(body), None if sealed is None else write_json(sealed), random(2 * SALT_BYTES))


def _draft(node: int, kind: Kind, body: bytes, sealed: bytes | None, salts: bytes) -> Draft:
    if sealed is None:
        return Draft(node, kind, salts[:SALT_BYTES], body, None, rows.int2(kind) + _NOT_SEALED)
    salt = salts[SALT_BYTES:]
    tail = rows.int2(kind) + rows.data(salt) + rows.data(sealed)
    return Draft(node, kind, salts[:SALT_BYTES], body, commitment(salt, sealed), tail)


_NOT_SEALED = rows.data(None) * 2


def _with_id(made: Draft, event_id: EventId, digest: bytes) -> Draft:
    tail = rows.data(event_id.id) + rows.int8(event_id.declaration) + rows.data(digest)
    return made._replace(event_id=event_id, digest=digest, event_id_tail=tail)


def draft_once(node: int, kind: Kind, body: Json, name: str, random: RandomBytes) -> Draft:
    """An entry that is recorded once under `name`, whatever its body says: the second is answered with the first."""
    digest = hashlib.sha256(name.encode()).digest()
    return _with_id(draft(node, kind, body, random), EventId(id_key(name), 0), digest)


def draft_envelope(node: int, envelope: Json, random: RandomBytes) -> Draft:
    """What a capture document says besides its events (sender, master data …): sealed, since it is trade."""
    digest = hashlib.sha256(write_json(envelope, orjson.OPT_SORT_KEYS)).digest()
    made = draft(node, Kind.DOCUMENT, {"document": {}}, random, envelope)
    return _with_id(made, EventId(id_key(content_id(digest)), 0), digest)


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
    made = _draft(node, Kind.EVENT, _encoded(body), _encoded(sealed) if sealed else None, random(2 * SALT_BYTES))
    if len(made.body) + len(made.entry_tail) > EVENT_BYTES_MAX:
        raise LimitExceeded(f"the event {event['eventID']} is larger than {EVENT_BYTES_MAX} bytes")
    event_tail, item_tails = _index_tails(opened)
    if len(item_tails) > EVENT_ITEMS_MAX:
        raise LimitExceeded(f"the event {event['eventID']} names more than {EVENT_ITEMS_MAX} items; split it")
    return _with_id(made, event_id_of(event), digest)._replace(event_tail=event_tail, item_tails=item_tails)


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


def content_id(digest: bytes) -> str:
    """The eventID of an event that came without one (RFC 6920: a name made of a hash)."""
    return f"ni:///sha-256;{digest.hex()}?suyuan"


def event_id_of(event: Json) -> EventId:
    """The identity under which the event is recorded."""
    declaration = event.get("errorDeclaration")
    at = 0 if declaration is None else micros(parse_time(declaration["declarationTime"]), EPOCH) or 1
    return EventId(id_key(event["eventID"]), at)


def id_key(event_id: str) -> bytes:
    """The first 128 bits of the SHA-256 of an eventID."""
    return hashlib.sha256(event_id.encode()).digest()[:16]


def tick_name(minute: str) -> str:
    """The name under which a minute's tick is recorded once. The space keeps it apart from every eventID."""
    return f"tick {minute}"


def erasure_name(node: int, seq: int) -> str:
    """The name under which an entry's erasure is recorded once."""
    return f"erasure {node_text(node)}/{seq}"


def identity_again(node: int, kind: Kind, body: Json, sealed: Json | None) -> tuple[EventId, bytes | None] | None:
    """The id and digest under which a stored entry must stand in `event_id`; None for kinds that have no id.

    The digest is None where the sealed part that it covers is erased. An id that is not known then is not checked.
    """
    match kind:
        case Kind.EVENT:
            return event_id_of(body["event"]), None if sealed is None else _digest_again(body, sealed)
        case Kind.TICK:
            name = tick_name(body["tick"]["minute"])
        case Kind.ERASURE:
            name = erasure_name(node, body["erasure"]["seq"])
        case Kind.DOCUMENT if sealed is not None:
            digest = hashlib.sha256(write_json(sealed, orjson.OPT_SORT_KEYS)).digest()
            return EventId(id_key(content_id(digest)), 0), digest
        case _:
            return None
    return EventId(id_key(name), 0), hashlib.sha256(name.encode()).digest()


def _digest_again(body: Json, sealed: Json) -> bytes:
    """`digest_of` the request behind a stored event. An id of our own making was not in it."""
    context = Context(tuple(body.get("@context", ())))
    event = whole(body["event"], sealed)
    bare = digest_of({name: value for name, value in event.items() if name != "eventID"}, context)
    return bare if event["eventID"] == content_id(bare) else digest_of(event, context)


def _index_tails(opened: Json) -> tuple[bytes, tuple[bytes, ...]]:
    found = columns(opened)
    action, event_time = rows.int2(found.action), rows.time(found.event_time)
    event_tail = b"".join(
        (
            rows.int2(found.type), action, event_time, rows.text(found.business_step), rows.text(found.disposition),
            rows.text(found.read_point), rows.text(found.business_location),
        )
    )  # fmt: skip
    end = action + event_time
    pairs = dict.fromkeys((key, role) for role, key, _, _ in mentions(opened))  # each once, in the event's order
    return event_tail, tuple([rows.text(key) + _ROLES[role] + end for key, role in pairs])


_ROLES = {role: rows.int2(role) for role in Role}

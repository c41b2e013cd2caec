"""A draft: an entry with everything that does not depend on its place in a chain.

Preparing is most of the work of a capture and needs no lock, so it is done before a request waits for its commit.
Pure: random salts are an argument.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import orjson

from ledger import rows
from ledger.codes import node_text
from ledger.disclosure import Json, split
from ledger.documents import CapturedEvent, Context, write_json
from ledger.entries import SALT_BYTES, Kind, commitment, micros
from ledger.errors import LimitExceeded
from ledger.fields import EPOCH, parse_time
from ledger.index import Action, Role, columns, mentions

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
    hidden = None if sealed is None else write_json(sealed)
    return Draft(node, kind, *_parts(kind, write_json(body), hidden, random(2 * SALT_BYTES)))


def _parts(kind: Kind, body: bytes, sealed: bytes | None, salts: bytes) -> tuple[bytes, bytes, bytes | None, bytes]:
    """Salt, body, commitment and entry tail."""
    if sealed is None:
        return salts[:SALT_BYTES], body, None, _KIND[kind] + _NOT_SEALED
    salt = salts[SALT_BYTES:]
    return salts[:SALT_BYTES], body, commitment(salt, sealed), _KIND[kind] + rows.data(salt) + rows.data(sealed)


_KIND = {kind: rows.int2(kind) for kind in Kind}
_NOT_SEALED = rows.data(None) * 2


def _id_tail(event_id: EventId, digest: bytes) -> bytes:
    return rows.data(event_id.id) + rows.int8(event_id.declaration) + rows.data(digest)


def _with_id(made: Draft, event_id: EventId, digest: bytes) -> Draft:
    return made._replace(event_id=event_id, digest=digest, event_id_tail=_id_tail(event_id, digest))


def draft_once(node: int, kind: Kind, body: Json, name: str, random: RandomBytes) -> Draft:
    """An entry that is recorded once under `name`, whatever its body says: the second is answered with the first."""
    digest = hashlib.sha256(name.encode()).digest()
    return _with_id(draft(node, kind, body, random), EventId(id_key(name), 0), digest)


def draft_envelope(node: int, envelope: Json, random: RandomBytes) -> Draft:
    """What a capture document says besides its events (sender, master data …): sealed, since it is trade."""
    digest = hashlib.sha256(_sorted(envelope)).digest()
    made = draft(node, Kind.DOCUMENT, {"document": {}}, random, envelope)
    return _with_id(made, EventId(id_key(content_id(digest)), 0), digest)


def draft_event(node: int, captured: CapturedEvent, random: RandomBytes) -> Draft:
    """A checked event as a draft. Without an eventID it gets one made from its own content, so that sending it again
    is sending the same event. `LimitExceeded` if it names too many items or is too long."""
    opened, hidden = split(captured.event)
    body, sealed, context = _sorted(opened), _sorted(hidden) if hidden else None, captured.context
    digest = digest_of(body, sealed, context)
    if "eventID" not in opened:
        opened["eventID"] = content_id(digest)
        body = _sorted(opened)
    if len(body) + len(sealed or b"") > EVENT_BYTES_MAX:
        raise LimitExceeded(f"the event {opened['eventID']} is larger than {EVENT_BYTES_MAX} bytes")
    declared = b',"@context":' + _sorted(context.parts) if context.parts else b""
    event_tail, item_tails = _index_tails(opened)
    if len(item_tails) > EVENT_ITEMS_MAX:
        raise LimitExceeded(f"the event {opened['eventID']} names more than {EVENT_ITEMS_MAX} items; split it")
    event_id = event_id_of(opened)
    return Draft(
        node, Kind.EVENT, *_parts(Kind.EVENT, b'{"event":' + body + declared + b"}", sealed, random(2 * SALT_BYTES)),
        event_id, digest, _id_tail(event_id, digest), event_tail, item_tails,
    )  # fmt: skip


def _sorted(value: object) -> bytes:
    """JSON in one order of keys, so that whoever sends the same event in another order sends the same event."""
    try:
        return write_json(value, orjson.OPT_SORT_KEYS)
    except TypeError as error:  # orjson's JSONEncodeError: only an integer beyond 64 bits in an extension field
        raise LimitExceeded(f"an extension field holds what cannot be kept ({error}); write it as a string") from None


def digest_of(opened: bytes, sealed: bytes | None, context: Context) -> bytes:
    """SHA-256 of an event as it came, from the sorted JSON of its open part and of its sealed part.

    The same request has the same digest, whatever the order of its keys. What the ledger adds does not count: the
    record time, and an id where there was none. A declared context does.
    """
    declared = _sorted(context.parts) if context.parts else b""
    return hashlib.sha256(b"\n".join((opened, sealed or b"", declared))).digest()


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
    context, hidden = Context(tuple(body.get("@context", ()))), _sorted(sealed) if sealed else None
    opened = dict(body["event"])
    name = opened.pop("eventID")
    bare = digest_of(_sorted(opened), hidden, context)
    return bare if name == content_id(bare) else digest_of(_sorted(body["event"]), hidden, context)


def _index_tails(opened: Json) -> tuple[bytes, tuple[bytes, ...]]:
    found = columns(opened)
    action, event_time = _ACTIONS[found.action], rows.time(found.event_time)
    event_tail = b"".join(
        (
            rows.int2(found.type), action, event_time, _often(found.business_step), _often(found.disposition),
            _often(found.read_point), _often(found.business_location),
        )
    )  # fmt: skip
    end = action + event_time
    pairs = dict.fromkeys([(key, role) for role, key, _, _ in mentions(opened)])  # each once, in the event's order
    return event_tail, tuple([rows.text(key) + _ROLES[role] + end for key, role in pairs])


_ROLES = {role: rows.int2(role) for role in Role}
_ACTIONS = {action: rows.int2(action) for action in Action}
_often = lru_cache(maxsize=8192)(rows.text)
"""Steps and places recur in event after event."""

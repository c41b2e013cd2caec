"""A draft: an entry with everything that does not depend on its place in a chain.

Preparing is most of the work of a capture and needs no lock, so it is done before a request waits for its commit.
Pure: random salts are an argument.
"""

import hashlib
import hmac
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import orjson

from ledger import rows
from ledger.balances import Move, moves_of
from ledger.codes import CITY, node_text
from ledger.disclosure import Json, split
from ledger.documents import CapturedEvent, write_json
from ledger.entries import SALT_BYTES, Kind, commitment, micros, time_text
from ledger.errors import LimitExceeded
from ledger.fields import EPOCH, parse_time
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.index import Action, Role, columns, named
from ledger.packs.effects import Effect, effects_of
from ledger.steps import CERTIFICATE_URN

OUTCOME = "packs"
"""What the ledger adds to an event's entry: what became of the packs. It is no part of what was sent."""
EVENT_ITEMS_MAX = 20_000
EVENT_BYTES_MAX = 4 * 1024 * 1024

RandomBytes = Callable[[int], bytes]


class EventId(NamedTuple):
    """What makes an event the same event: its id, and when it was declared in error (0 for never)."""

    id: bytes
    declaration: int


class Draft(NamedTuple):
    """An entry before it has its place. The tails are its rows in binary COPY form, without what the place decides.

    Two drafts under one `event_id` are the same request if their `digest` (of the body) and `sealed` agree.
    """

    node: int
    kind: Kind
    salt: bytes
    body: bytes
    sealed: bytes | None
    commitment: bytes | None
    entry_tail: bytes
    event_id: EventId | None = None
    digest: bytes = b""
    event_id_tail: bytes = b""
    event_tail: bytes = b""
    item_tails: tuple[bytes, ...] = ()
    version_tail: bytes = b""
    moves: tuple[Move, ...] = ()
    effects: tuple[Effect, ...] = ()


def draft(node: int, kind: Kind, body: Json, random: RandomBytes, sealed: Json | None = None) -> Draft:
    """An entry that is no event: a registry change, a tick, a decision, a document's envelope."""
    hidden = None if sealed is None else write_json(sealed)
    return Draft(node, kind, *_parts(kind, write_json(body), hidden, random(2 * SALT_BYTES)))


_Parts = tuple[bytes, bytes, bytes | None, bytes | None, bytes]


def _parts(kind: Kind, body: bytes, sealed: bytes | None, salts: bytes) -> _Parts:
    """Salt, body, sealed part, commitment and entry tail."""
    if sealed is None:
        return salts[:SALT_BYTES], body, None, None, _KIND[kind] + _NOT_SEALED
    salt = salts[SALT_BYTES:]
    tail = _KIND[kind] + rows.data(salt) + rows.data(sealed)
    return salts[:SALT_BYTES], body, sealed, commitment(salt, sealed), tail


_KIND = {kind: rows.int2(kind) for kind in Kind}
_NOT_SEALED = rows.data(None) * 2


def _id_tail(event_id: EventId, digest: bytes) -> bytes:
    return rows.event_id(event_id.id, event_id.declaration, digest)


def _with_id(made: Draft, event_id: EventId, digest: bytes) -> Draft:
    return made._replace(event_id=event_id, digest=digest, event_id_tail=_id_tail(event_id, digest))


def draft_once(node: int, kind: Kind, body: Json, name: str, random: RandomBytes) -> Draft:
    """An entry that is recorded once under `name`, whatever its body says: the second is answered with the first."""
    digest = hashlib.sha256(name.encode()).digest()
    return _with_id(draft(node, kind, body, random), EventId(id_key(name), 0), digest)


def draft_refusal(node: int, scan: str, packs: list[Json], said: Json, at: datetime, random: RandomBytes) -> Draft:
    """An entry that says that commands for packs were decided against; found by each of them.

    `packs` says of each, under its `code`, why; `said` what was asked. It is recorded once for a scan.
    """
    body: Json = {"refusal": {"scan": scan, **said, "at": time_text(at), "packs": packs}}
    end = _ROLES[refusal_role(said["mode"])] + rows.int2(Action.NONE) + rows.time(at)
    tails = tuple(rows.text(code) + end for code in dict.fromkeys(one["code"] for one in packs))
    return draft_once(node, Kind.REFUSAL, body, refusal_name(scan), random)._replace(item_tails=tails)


def why_refused(said: Json) -> str:
    """What a refusal was for, by its open part: held, not_enough or pack."""
    return "pack" if "packs" in said else "held" if "held" in said else "not_enough"


def refusal_role(mode: str) -> Role:
    """How a pack stands in a refusal: what came late says nothing of how often somebody tried."""
    return Role.REFUSED_LATE if mode == "offline" else Role.REFUSED


def draft_check(node: int, check: Json, sealed: Json, random: RandomBytes) -> Draft:
    """An entry that says what was decided at the gate; found by its lots and certificates.

    It is recorded once under the check's id; with another sealed part, which holds what was asked, it is a conflict.
    """
    body: Json = {"check": check}
    end = _ROLES[Role.CHECKED] + rows.int2(Action.NONE) + rows.time(parse_time(check["at"]))
    tails = tuple(rows.text(key) + end for key in checked_items(check))
    name = check_name(check["check"])
    made = draft(node, Kind.CHECK, body, random, sealed)
    return _with_id(made, EventId(id_key(name), 0), hashlib.sha256(name.encode()).digest())._replace(item_tails=tails)


def checked_items(check: Json) -> list[Key]:
    """What a check is found by: the lots, and the certificates as URNs, each once."""
    lots = [canonical_key(goods["item"]) for goods in check["goods"] if goods["item"] is not None]
    return [*dict.fromkeys([*lots, *(Key(f"{CERTIFICATE_URN}{one}") for one in check["certificates"])])]


def check_name(check: str) -> str:
    """The name under which a check at the gate is recorded once."""
    return f"check {check}"


def draft_change(subject: str, version: int, body: Json, private: bytes | None, random: RandomBytes) -> Draft:
    """An entry of the city's chain that makes a version of a registry row, with its private values beside it."""
    tail = rows.text(subject) + rows.int4(version) + rows.data(private)
    return draft(CITY, Kind.CHANGE, body, random)._replace(version_tail=tail)


def draft_reading(subjects: Sequence[str], purpose: str, at: datetime, random: RandomBytes) -> Draft:
    """An entry of the city's chain that says whose private values were shown, and what for; found by each of them."""
    body: Json = {"reading": {"subjects": sorted(set(subjects)), "purpose": purpose, "at": time_text(at)}}
    end = _ROLES[Role.READ] + rows.int2(Action.NONE) + rows.time(at)
    tails = tuple(rows.text(subject) + end for subject in body["reading"]["subjects"])
    return draft(CITY, Kind.READING, body, random)._replace(item_tails=tails)


def draft_envelope(node: int, envelope: Json, random: RandomBytes, secret: bytes) -> Draft:
    """What a capture document says besides its events (sender, master data …): sealed, since it is trade."""
    sealed = _sorted(envelope)
    name = content_id(secret, sealed)
    body = _sorted({"document": {"id": name}})
    made = Draft(node, Kind.DOCUMENT, *_parts(Kind.DOCUMENT, body, sealed, random(2 * SALT_BYTES)))
    return _with_id(made, EventId(id_key(name), 0), hashlib.sha256(body).digest())


def draft_event(node: int, captured: CapturedEvent, random: RandomBytes, secret: bytes) -> Draft:
    """A checked event as a draft. Without an eventID it gets one made from its own content, so that sending it again
    is sending the same event. `LimitExceeded` if it names too many items or is too long."""
    opened, hidden = split(captured.event)
    sealed = _sorted(hidden) if hidden else None
    body: Json = {"event": opened}
    if captured.context.parts:
        body["@context"] = captured.context.parts
    if "eventID" not in opened:
        opened["eventID"] = content_id(secret, _sorted(body), sealed or b"")
    data = _sorted(body)
    if len(data) + len(sealed or b"") > EVENT_BYTES_MAX:
        raise LimitExceeded(f"the event {opened['eventID']} is larger than {EVENT_BYTES_MAX} bytes")
    event_tail, item_tails = _index_tails(opened)
    if len(item_tails) > EVENT_ITEMS_MAX:
        raise LimitExceeded(f"the event {opened['eventID']} names more than {EVENT_ITEMS_MAX} items; split it")
    event_id, digest = event_id_of(opened), hashlib.sha256(data).digest()
    return Draft(
        node, Kind.EVENT, *_parts(Kind.EVENT, data, sealed, random(2 * SALT_BYTES)), event_id, digest,
        _id_tail(event_id, digest), event_tail, item_tails, moves=tuple(moves_of(opened, node)),
        effects=tuple(effects_of(opened)),
    )  # fmt: skip


def _sorted(value: object) -> bytes:
    """JSON in one order of keys, so that whoever sends the same event in another order sends the same event."""
    try:
        return write_json(value, orjson.OPT_SORT_KEYS)
    except TypeError as error:  # orjson's JSONEncodeError: only an integer beyond 64 bits in an extension field
        raise LimitExceeded(f"an extension field holds what cannot be kept ({error}); write it as a string") from None


def content_id(secret: bytes, *parts: bytes) -> str:
    """The id of what came without one: the same for the same content (a UUID of version 8, RFC 9562).

    It stands in the open for ever and is made of what is sealed too, so it is keyed: without the installation's
    `secret` nobody can try out what was sealed, also when that is erased.
    """
    made = bytearray(hmac.digest(secret, b"\n".join(parts), "sha256")[:16])
    made[6], made[8] = made[6] & 0x0F | 0x80, made[8] & 0x3F | 0x80
    return f"urn:uuid:{uuid.UUID(bytes=bytes(made))}"


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


def with_outcome(body: bytes, outcome: Json | list[Json]) -> bytes:
    """An event's body with what became of its packs."""
    return body[:-1] + b',"%s":%s}' % (OUTCOME.encode(), write_json(outcome))


def refusal_name(scan: str) -> str:
    """The name under which the refusal of a scan is recorded once."""
    return f"refusal {scan}"


def identity(node: int, kind: Kind, body: Json) -> tuple[EventId, bytes] | None:
    """The id and digest under which an entry stands in `event_id`, from its body; None for kinds that have no id.

    Of events and envelopes the digest is SHA-256 of the body: same digest, same open part. What is sealed is compared
    byte for byte while it is there, and a hash of it is kept nowhere but in its salted commitment.
    """
    match kind:
        case Kind.EVENT:
            sent = {name: value for name, value in body.items() if name != OUTCOME}
            return event_id_of(body["event"]), hashlib.sha256(_sorted(sent)).digest()
        case Kind.DOCUMENT:
            return EventId(id_key(body["document"]["id"]), 0), hashlib.sha256(_sorted(body)).digest()
        case Kind.TICK:
            name = tick_name(body["tick"]["minute"])
        case Kind.ERASURE:
            name = erasure_name(node, body["erasure"]["seq"])
        case Kind.REFUSAL:
            name = refusal_name(body["refusal"]["scan"])
        case Kind.CHECK:
            name = check_name(body["check"]["check"])
        case _:
            return None
    return EventId(id_key(name), 0), hashlib.sha256(name.encode()).digest()


def _index_tails(opened: Json) -> tuple[bytes, tuple[bytes, ...]]:
    found = columns(opened)
    start = rows.event_start(found.type, found.action, found.event_time)
    event_tail = (
        start + _often(found.business_step) + _often(found.disposition) + _often(found.read_point)
        + _often(found.business_location)
    )  # fmt: skip
    end = start[_TYPE_FIELD:]
    pairs = dict.fromkeys([(key, role) for role, key, _ in named(opened)])  # each once, in the event's order
    return event_tail, tuple([rows.text(key) + _ROLES[role] + end for key, role in pairs])


_ROLES = {role: rows.int2(role) for role in Role}
_TYPE_FIELD = 6
"""What an item's row has of an event's beginning is all but the type: action and time."""
_often = lru_cache(maxsize=8192)(rows.text)
"""Steps and places recur in event after event."""

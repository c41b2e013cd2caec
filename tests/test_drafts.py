"""Drafts: one identity for one event, commitments that open, and rows in PostgreSQL's own binary form."""

import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from struct import unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.disclosure import whole
from ledger.documents import CapturedEvent, read_document, read_json, write_json
from ledger.drafts import (
    EVENT_BYTES_MAX,
    EVENT_ITEMS_MAX,
    Draft,
    draft,
    draft_envelope,
    draft_event,
    draft_once,
    erasure_name,
    event_id_of,
    id_key,
    identity,
    tick_name,
)
from ledger.entries import Kind, commitment, encode
from ledger.errors import LimitExceeded
from ledger.fields import EPOCH, parse_time
from ledger.index import columns, mentions

NODE = 330212333
CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"ex": "https://ns.example.com/epcis/"}]
EVENT = {
    "@context": CONTEXT, "type": "ObjectEvent", "eventTime": "2026-11-23T06:00:00+08:00", "action": "ADD",
    "eventTimeZoneOffset": "+08:00", "epcList": ["urn:epc:id:sgtin:0614141.107346.2018"], "bizStep": "commissioning",
    "readPoint": {"id": "urn:epc:id:sgln:0614141.12345.0", "ex:lane": 3}, "ex:price": {"b": 2, "a": 1.5},
    "ilmd": {"cbvmda:lotNumber": "猪-7", "ex:cost": 9},
}  # fmt: skip


def counted() -> Callable[[int], bytes]:
    """Salts that are different and known."""
    return lambda size: bytes(range(size))


SECRET = b"the installation's"


def captured(**fields: object) -> CapturedEvent:
    event = {name: value for name, value in {**EVENT, **fields}.items() if value is not ...}
    (found,) = read_document(json.dumps(event).encode()).events
    return found


def made(**fields: object) -> Draft:
    return draft_event(NODE, captured(**fields), counted(), SECRET)


def fields_of(tail: bytes) -> list[bytes | None]:
    """The fields of a binary COPY tail: a 4-byte length and that many bytes each, -1 for NULL."""
    found: list[bytes | None] = []
    while tail:
        (length,) = unpack(">i", tail[:4])
        found.append(None if length == -1 else tail[4 : 4 + length])
        assert length == -1 or len(found[-1] or b"") == length
        tail = tail[4 + max(length, 0) :]
    return found


def shuffled(value: Any, data: st.DataObject) -> Any:
    if isinstance(value, dict):
        return {name: shuffled(value[name], data) for name in data.draw(st.permutations([*value]))}
    return [shuffled(inner, data) for inner in value] if isinstance(value, list) else value


@given(st.data())
def test_the_order_of_keys_does_not_make_another_event(data: st.DataObject) -> None:
    again = draft_event(
        NODE, captured(**shuffled({k: v for k, v in EVENT.items() if k != "@context"}, data)), counted(), SECRET
    )
    assert (again.digest, again.event_id) == (made().digest, made().event_id)


def test_neither_a_record_time_nor_salts_make_another_event() -> None:
    assert made(recordTime="2020-01-01T00:00:00Z").digest == made().digest
    assert draft_event(NODE, captured(), lambda size: b"\xff" * size, SECRET).digest == made().digest


@pytest.mark.parametrize(
    "fields",
    [
        {"eventTime": "2026-11-23T06:00:01+08:00"},
        {"eventTime": "2026-11-22T22:00:00Z"},
        {"ex:price": {"b": 2, "a": 1.50001}},
        {"ex:price": ...},
        {"ex:more": None},
        {"epcList": []},
        {"readPoint": {"id": "urn:epc:id:sgln:0614141.12345.0"}},
        {"ilmd": {"cbvmda:lotNumber": "猪-8", "ex:cost": 9}},
        {"@context": [*CONTEXT, {"other": "https://example.com/"}]},
        {"@context": [CONTEXT[0], {"ex": "https://example.com/another-meaning/"}]},
        {"bizTransactionList": [{"bizTransaction": "urn:x:po:1"}]},
    ],
)
def test_any_other_content_is_another_event(fields: dict) -> None:
    other, this = made(**fields), made()
    assert (other.digest, other.sealed) != (this.digest, this.sealed) and other.event_id != this.event_id


def test_an_event_without_an_id_gets_one_of_its_content_that_is_recorded_with_it() -> None:
    found = made()
    name = json.loads(found.body)["event"]["eventID"]
    assert uuid.UUID(name.removeprefix("urn:uuid:")).version == 8
    assert found.event_id == (id_key(name), 0) and id_key(name) == hashlib.sha256(name.encode()).digest()[:16]


def test_sending_it_again_under_the_id_that_it_got_is_sending_it_again() -> None:
    found = made()
    again = made(eventID=json.loads(found.body)["event"]["eventID"])
    assert (again.event_id, again.digest, again.sealed) == (found.event_id, found.digest, found.sealed)


def test_without_the_installations_secret_nobody_can_try_out_what_was_sealed() -> None:
    """The id stands in the open for ever; made of the sealed part without a key, it would tell a guessed price."""
    other = draft_event(NODE, captured(), counted(), b"another secret")
    assert made().sealed == other.sealed is not None and made().event_id != other.event_id


def test_nothing_open_is_a_hash_of_what_is_sealed_without_a_salt() -> None:
    """Prices are few: an unsalted digest of one would outlive its erasure and give it away."""
    dear, cheap = made(eventID="urn:uuid:a", **{"ex:price": 9}), made(eventID="urn:uuid:a", **{"ex:price": 8})
    assert dear.sealed != cheap.sealed and (dear.digest, dear.body) == (cheap.digest, cheap.body)


def test_two_events_under_one_id_have_one_identity_and_two_digests() -> None:
    first, second = made(eventID="urn:uuid:a"), made(eventID="urn:uuid:a", action="OBSERVE", ilmd=...)
    assert first.event_id == second.event_id and first.digest != second.digest


def test_an_error_declaration_is_another_identity_under_the_same_id_for_each_of_its_times() -> None:
    times = [None, "2026-11-24T00:00:00Z", "2026-11-24T00:00:00.000001Z", "2000-01-01T00:00:00Z"]
    found = {
        event_id_of({"eventID": "urn:x:1"} | ({"errorDeclaration": {"declarationTime": at}} if at else {}))
        for at in times
    }
    assert len(found) == len(times) and {identity.id for identity in found} == {id_key("urn:x:1")}


def test_the_parts_of_a_draft_together_are_the_event_as_it_came() -> None:
    found = made(eventID="urn:uuid:a")
    kind, salt, sealed = fields_of(found.entry_tail)
    body = read_json(found.body)
    assert whole(body["event"], read_json(sealed or b"")) == {
        **{name: value for name, value in captured().event.items() if name != "@context"},
        "eventID": "urn:uuid:a",
    }
    assert body["@context"] == [CONTEXT[1]] and kind == Kind.EVENT.to_bytes(2, "big")
    assert found.commitment == commitment(salt or b"", sealed or b"") == hashlib.sha256(salt + sealed).digest()
    assert (found.salt, salt) == (bytes(range(16)), bytes(range(16, 32))), "two salts, not one"


def test_the_open_body_does_not_show_what_is_sealed() -> None:
    found = made(sourceList=[{"type": "owning_party", "source": "urn:x:seller"}])
    assert b"seller" not in found.body and b"ex:price" not in found.body and b"cost" not in found.body


def test_an_event_without_anything_sealed_commits_to_nothing() -> None:
    found = made(**{"ex:price": ..., "readPoint": ..., "ilmd": ...})
    assert found.commitment is None and fields_of(found.entry_tail) == [b"\x00\x01", None, None]


def test_every_public_event_makes_rows_that_are_well_formed(shared_data: Path) -> None:
    count = 0
    for path in sorted((shared_data / "epcis").rglob("*.json*")):
        if not {"gs1", "valid"} & {*path.parts} or "schema" in path.parts:
            continue
        for event in read_document(path.read_bytes()).events:
            count += 1
            found = draft_event(NODE, event, counted(), SECRET)
            opened = read_json(found.body)["event"]
            expected = columns(opened)
            _, salt, sealed = fields_of(found.entry_tail)
            assert (salt is None) == (sealed is None) == (found.commitment is None)
            assert fields_of(found.event_id_tail) == [
                found.event_id.id, found.event_id.declaration.to_bytes(8, "big", signed=True), found.digest
            ]  # fmt: skip
            time = expected.event_time - EPOCH
            assert fields_of(found.event_tail) == [
                expected.type.to_bytes(2, "big"), expected.action.to_bytes(2, "big"),
                (time // timedelta(microseconds=1)).to_bytes(8, "big", signed=True),
                *(None if text is None else text.encode() for text in expected[3:]),
            ]  # fmt: skip
            rows = [fields_of(tail) for tail in found.item_tails]
            assert {(row[0].decode(), int.from_bytes(row[1], "big")) for row in rows} == {
                (key, role) for role, key, _, _ in mentions(opened)
            }
            assert len({(row[0], row[1]) for row in rows}) == len(rows), "an item stands once in each role"
            assert all(len(row) == 4 for row in rows)
            assert identity(NODE, Kind.EVENT, read_json(found.body)) == (found.event_id, found.digest)
    assert count == 82


def test_an_event_may_name_the_greatest_number_of_items_and_no_more() -> None:
    items = [f"urn:x:{i}" for i in range(EVENT_ITEMS_MAX)]
    assert len(made(epcList=items).item_tails) == EVENT_ITEMS_MAX
    with pytest.raises(LimitExceeded, match="names more than"):
        made(epcList=items, certificationInfo="urn:x:certificate")


def test_an_event_of_too_many_bytes_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="larger than"):
        made(**{"ex:image": "x" * EVENT_BYTES_MAX})


@pytest.mark.parametrize("place", [{"ex:n": 2**64}, {"ilmd": {"ex:n": -(2**63) - 1}}, {"ex:n": [{"deep": 10**30}]}])
def test_a_whole_number_beyond_64_bits_in_an_extension_field_is_refused_by_name(place: dict) -> None:
    with pytest.raises(LimitExceeded, match="write it as a string"):
        made(**place)


def test_a_whole_number_beyond_64_bits_in_a_documents_header_is_refused_by_name() -> None:
    with pytest.raises(LimitExceeded, match="write it as a string"):
        draft_envelope(NODE, {"epcisHeader": {"ex:n": 10**30}}, counted(), SECRET)


def test_an_envelope_is_sealed_and_recorded_once_whatever_the_order_of_its_keys() -> None:
    first = draft_envelope(NODE, {"sender": "a", "receiver": "b"}, counted(), SECRET)
    second = draft_envelope(NODE, {"receiver": "b", "sender": "a"}, counted(), SECRET)
    other = draft_envelope(NODE, {"receiver": "b", "sender": "c"}, counted(), SECRET)
    assert (first.event_id, first.digest) == (second.event_id, second.digest) != (other.event_id, other.digest)
    assert b"sender" not in first.body and first.commitment is not None
    assert identity(NODE, Kind.DOCUMENT, read_json(first.body)) == (first.event_id, first.digest)


def test_what_is_recorded_once_has_its_names_identity_whatever_its_body_says() -> None:
    minute = "2026-11-23T06:00Z"
    first, second = (
        draft_once(NODE, Kind.TICK, {"tick": {"minute": minute, "size": n}}, tick_name(minute), counted())
        for n in (1, 2)
    )
    assert (first.event_id, first.digest) == (second.event_id, second.digest)
    assert identity(NODE, Kind.TICK, read_json(first.body)) == (first.event_id, first.digest)


def test_no_event_can_take_the_name_of_a_tick_or_an_erasure() -> None:
    """An eventID is a URI, and no URI has a space."""
    for name in (tick_name("2026-11-23T06:00Z"), erasure_name(NODE, 5)):
        assert " " in name


def test_the_bytes_that_a_draft_becomes_are_an_entry() -> None:
    found = draft(NODE, Kind.CHANGE, {"a": 1}, counted())
    data = encode(
        found.node, 1, bytes(32), "2026-11-23T00:00:00.000000Z", "x", "change", found.salt, found.body, found.commitment
    )
    assert json.loads(data)["body"] == {"a": 1} and write_json(json.loads(data)["body"]) == found.body
    assert parse_time(json.loads(data)["recordTime"]).year == 2026

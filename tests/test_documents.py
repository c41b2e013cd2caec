"""Reading documents: exact numbers, limits, contexts, every breach at once, and bytes that are no JSON."""

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.documents import (
    BODY_BYTES_MAX,
    BREACHES_MAX,
    CONTEXT_BYTES_MAX,
    CONTEXT_PARTS_MAX,
    EVENTS_MAX,
    Context,
    read_context,
    read_document,
    read_json,
    write_json,
)
from ledger.errors import Breach, LimitExceeded, UnacceptableEvent
from ledger.fields import DEPTH_MAX

GS1 = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
EVENT = {
    "type": "ObjectEvent", "eventTime": "2026-11-23T06:00:00+08:00", "eventTimeZoneOffset": "+08:00",
    "action": "OBSERVE", "epcList": ["urn:epc:id:sgtin:0614141.107346.2018"],
}  # fmt: skip


def document(*events: object, **fields: object) -> dict[str, Any]:
    return {
        "@context": [GS1, {"ex": "https://ns.example.com/epcis/"}], "type": "EPCISDocument", "schemaVersion": "2.0",
        "creationDate": "2026-11-23T06:00:00Z", "epcisBody": {"eventList": list(events)}, **fields,
    }  # fmt: skip


def bare(**fields: object) -> bytes:
    return json.dumps({"@context": [GS1, {"ex": "https://ns.example.com/epcis/"}], **EVENT, **fields}).encode()


def refused(data: bytes | dict) -> list[Breach]:
    with pytest.raises(UnacceptableEvent) as error:
        read_document(data if isinstance(data, bytes) else json.dumps(data).encode())
    return error.value.breaches


@pytest.mark.parametrize(
    "digits",
    [
        "1.10",
        "0.1234567890123456789012345",
        "1E+3",
        "-0.0",
        "100.00",
        "-9223372036854775808",
        "9223372036854775807",
        "0",
    ],
)
def test_numbers_keep_their_own_digits(digits: str) -> None:
    """2.50 kg is what the scale said; 2.5 is not the same bytes, and a float is not the same number."""
    value = read_json(digits.encode())
    assert write_json(value).decode() == digits and not isinstance(value, float)


def test_an_exponent_keeps_its_number() -> None:
    assert read_json(b"1e3") == Decimal("1e3") and write_json(read_json(b"[1e3]")) == b"[1E+3]"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_is_written_is_read_back_whatever_it_is(value: object) -> None:
    assert read_json(write_json(value)) == value


@given(st.binary(max_size=60) | st.text('{}[]",:0123456789eE+-.truefalsn\\u \ufeff', max_size=60).map(str.encode))
def test_no_bytes_break_the_reader_but_by_its_own_errors(data: bytes) -> None:
    with contextlib.suppress(UnacceptableEvent, LimitExceeded):
        read_document(data)


@given(st.recursive(json_values, lambda inner: st.lists(inner, max_size=3), max_leaves=8), st.data())
def test_no_json_in_any_field_breaks_the_reader_but_by_its_own_errors(value: object, data: st.DataObject) -> None:
    field = data.draw(
        st.sampled_from(
            "@context type eventTime epcList readPoint sensorElementList ilmd bizStep quantityList certificationInfo "
            "errorDeclaration ex:a persistentDisposition".split()
        )
    )
    for whole in (
        document({**EVENT, field: value}),
        {"@context": GS1, **EVENT, field: value},
        {**document(), field: value},
    ):
        with contextlib.suppress(UnacceptableEvent, LimitExceeded):
            read_document(write_json(whole))


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b"{}x", b"NaN", b"[Infinity]", b"[-Infinity]", b"01", b"1.", b"+1", b"'a'", b"{a:1}", b"[1,]",
        b"// comment\n{}", b"\xef\xbb\xbf{}", b'"\xff"', b'"\xc0\xaf"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\x41"',
        b'"a\nb"', b'"\x00"', b"9" * 5000, b"1e99999999999999999999", b"[" * 100_000, b"\xff\xfe{\x00}\x00",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_as_a_whole(data: bytes) -> None:
    (breach,) = refused(data)
    assert breach.path == "$" and "not JSON" in breach.reason


@pytest.mark.parametrize("data", [b"[]", b"null", b"5", b'"EPCISDocument"', b"[{}]"])
def test_json_that_is_no_object_is_refused(data: bytes) -> None:
    assert refused(data) == [Breach("$", "this is no JSON object")]


def test_of_a_key_that_stands_twice_the_last_counts() -> None:
    data = bare().replace(b'"action": "OBSERVE"', b'"action": "nonsense", "action": "ADD"')
    assert read_document(data).events[0].event["action"] == "ADD"


def test_nul_and_whole_planes_of_characters_are_kept_in_extension_values() -> None:
    text = "\x00\u2028\U0001f43702猪"
    assert read_document(bare(**{"ex:a": text})).events[0].event["ex:a"] == text


def test_whole_numbers_of_any_size_are_read_in_extension_fields() -> None:
    assert read_document(bare(**{"ex:a": 10**40})).events[0].event["ex:a"] == 10**40


def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(LimitExceeded, match=str(BODY_BYTES_MAX)):
        read_document(b"[" * (BODY_BYTES_MAX + 1))


def test_a_document_may_hold_the_greatest_number_of_events_and_no_more() -> None:
    events = json.dumps([EVENT] * EVENTS_MAX)[1:-1]
    data = json.dumps(document("EVENTS")).replace('"EVENTS"', events)
    assert len(read_document(data.encode()).events) == EVENTS_MAX
    with pytest.raises(LimitExceeded, match="10001 events"):
        read_document(data.replace(events, events + ", {}").encode())


def nested(depth: int) -> object:
    value: object = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("place", [{"ex:a": ...}, {"readPoint": {"id": "urn:x:y", "ex:a": ...}}])
def test_an_extension_may_be_as_deep_as_the_limit_and_no_deeper(place: dict) -> None:
    def deep(depth: int) -> bytes:
        return bare(**json.loads(json.dumps(place, default=lambda _: nested(depth))))

    assert read_document(deep(DEPTH_MAX))
    (breach,) = refused(deep(DEPTH_MAX + 1))
    assert breach.path.endswith("['ex:a']") and "deeper than 60" in breach.reason


def test_a_context_has_a_limit_of_parts_and_of_bytes() -> None:
    parts = [{f"p{i}": "https://example.com/"} for i in range(CONTEXT_PARTS_MAX)]
    assert read_document(bare(**{"@context": parts})).events
    for context in ([*parts, {"q": "https://example.com/"}], {"p": "https://example.com/" + "x" * CONTEXT_BYTES_MAX}):
        with pytest.raises(LimitExceeded):
            read_document(bare(**{"@context": context}))


def test_many_small_contexts_of_events_do_not_add_up() -> None:
    """Each event's context counts by itself with the document's, so that a long document is not refused."""
    events = [{**EVENT, "@context": {f"p{i}": "https://example.com/"}, f"p{i}:x": 1} for i in range(CONTEXT_PARTS_MAX)]
    found = read_document(json.dumps(document(*events)).encode()).events
    assert [event.context.declared for event in found] == [{"ex", f"p{i}"} for i in range(CONTEXT_PARTS_MAX)]


@pytest.mark.parametrize(
    ("context", "declared"),
    [
        (GS1, set()),
        ([], set()),
        ([GS1, {"a": "https://example.com/"}, {"b": {"@id": "https://example.com/"}}], {"a", "b"}),
        ({"a": "https://example.com/", "a:term": {"@type": "xsd:date"}}, {"a"}),
        ({"a": 5, "b": "", "c": None, "d": {}, "e": {"@id": 5}}, set()),  # terms of JSON-LD, but no prefixes
        ([GS1, "https://example.com/context.jsonld"], None),
        (["https://example.com/context.jsonld", {"a": "https://example.com/"}], None),
    ],
)
def test_a_context_declares_its_prefixes_and_somebody_elses_document_may_declare_any(
    context: object, declared: set[str] | None
) -> None:
    found = read_context(context, "$")
    assert found.declared == declared and GS1 not in found.parts


@pytest.mark.parametrize(
    "context",
    [None, 5, True, "", "no uri", [None], [[GS1]], {"a": {"@id": "https://example.com/", "n": 10**30}}],
)  # fmt: skip
def test_what_is_no_context_is_refused_at_the_context(context: object) -> None:
    (breach,) = refused(bare(**{"@context": context}))
    assert breach.path.startswith("$['@context']")


def test_an_event_adds_to_the_documents_context_and_not_to_its_neighbours() -> None:
    own = {**EVENT, "@context": {"own": "https://example.com/"}, "own:a": 1, "ex:b": 2}
    first = read_document(json.dumps(document(own, EVENT)).encode()).events[0]
    assert first.context == Context(
        ({"ex": "https://ns.example.com/epcis/"}, {"own": "https://example.com/"}), frozenset({"ex", "own"})
    )
    assert [(b.event, b.path) for b in refused(document(own, {**EVENT, "own:a": 1}))] == [
        (1, "$.epcisBody.eventList[1]['own:a']")
    ]


def test_an_event_that_repeats_the_documents_context_says_nothing_new() -> None:
    """Its digest must not change by it, and it is kept once."""
    again = {**EVENT, "@context": document()["@context"]}
    first, second = read_document(json.dumps(document(again, EVENT)).encode()).events
    assert first.context == second.context


def test_a_bare_event_needs_a_context_and_a_document_too() -> None:
    assert refused(json.dumps(EVENT).encode()) == [Breach("$", "a bare event needs @context")]
    whole = document(EVENT)
    del whole["@context"]
    assert [breach.path for breach in refused(whole)] == ["$['@context']"]


def test_all_breaches_of_all_events_come_at_once_in_their_order() -> None:
    """Whoever repairs a document of 1000 events must not send it 1000 times."""
    wrong = {**EVENT, "action": "x", "eventTime": "y", "price": 1, "epcList": ["urn:x:1", "urn:epc:id:x:1"]}
    found = refused(document(wrong, EVENT, {**EVENT, "bizStep": "z"}, 5, None))
    assert {(b.event, b.path.removeprefix("$.epcisBody.eventList")) for b in found} == {
        (0, "[0].action"), (0, "[0].eventTime"), (0, "[0].price"), (0, "[0].epcList[1]"), (2, "[2].bizStep"),
        (3, "[3]"), (4, "[4]"),
    }  # fmt: skip
    assert [b.event for b in found] == sorted(b.event or 0 for b in found)


def test_no_more_breaches_than_the_limit_are_named() -> None:
    assert len(refused(document(*[{}] * 300))) == BREACHES_MAX
    assert len(refused(document({**EVENT, "epcList": ["x"] * 300}))) == BREACHES_MAX


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"schemaVersion": "2.x"}, "$.schemaVersion"),
        ({"schemaVersion": "２"}, "$.schemaVersion"),
        ({"schemaVersion": 2}, "$.schemaVersion"),
        ({"creationDate": "yesterday"}, "$.creationDate"),
        ({"epcisBody": {}}, "$.epcisBody.eventList"),
        ({"epcisBody": {"eventList": {}}}, "$.epcisBody.eventList"),
        ({"epcisBody": None}, "$.epcisBody"),
        ({"sender": 5}, "$.sender"),
        ({"unknown": 5}, "$.unknown"),
        ({"nobody:x": 5}, "$['nobody:x']"),
        ({"epcisHeader": {"unknown": 5}}, "$.epcisHeader.unknown"),
        ({"epcisHeader": {"epcisMasterData": {"vocabularyList": 5}}}, "$.epcisHeader.epcisMasterData.vocabularyList"),
    ],
)
def test_a_documents_own_fields_are_checked_too(fields: dict, path: str) -> None:
    (breach,) = refused(document(EVENT, **fields))
    assert (breach.event, breach.path) == (None, path)


def test_the_envelope_is_what_a_document_says_besides_its_events() -> None:
    header = {"epcisMasterData": {"vocabularyList": []}, "ex:h": 1}
    found = read_document(json.dumps(document(EVENT, sender="a", epcisHeader=header, **{"ex:note": 5})).encode())
    assert found.envelope == {"sender": "a", "epcisHeader": header, "ex:note": 5}
    assert read_document(json.dumps(document(EVENT)).encode()).envelope == {}


def test_a_document_without_events_is_a_document() -> None:
    assert read_document(json.dumps(document()).encode()).events == []


def events_of(folder: Path) -> Iterator[tuple[Any, Any]]:
    for path in sorted(folder.rglob("*.jsonld")):
        raw = json.loads(path.read_bytes(), parse_float=Decimal)
        body = raw["epcisBody"]
        theirs = body["eventList"] if "eventList" in body else body["queryResults"]["resultsBody"]["eventList"]
        yield theirs, [event for event, _ in read_document(path.read_bytes()).events]


def test_events_come_as_they_were_sent(shared_data: Path) -> None:
    """The models check; they never rewrite."""
    pairs = list(events_of(shared_data / "epcis/gs1/json"))
    assert len(pairs) == 47 and all(theirs == ours for theirs, ours in pairs)
    assert all(json.loads(write_json(ours), parse_float=Decimal) == theirs for theirs, ours in pairs)

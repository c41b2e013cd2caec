"""What EPCIS 2.0 allows and what not: GS1's documents and schema as oracle, mutations of them, and our own vectors."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import vocabulary
from ledger.documents import read_document
from ledger.errors import UnacceptableEvent
from ledger.events import EVENT_TYPES
from ledger.fields import is_uri, parse_time
from tests.conftest import VECTORS

INVALID = VECTORS / "epcis-invalid"
EXPECTED = json.loads((INVALID / "expected.json").read_text(encoding="utf-8"))

STRICTER = {
    "is not declared in @context": "a prefix nobody declares has no meaning; the schema takes any",
    "is no field of EPCIS 2.0 here": "places take extensions of other namespaces (XSD); the schema takes any",
    "holds a character that cannot be seen": "a field name is read by people; in places the schema takes any",
    "in an EPC URN": "a malformed EPC URN is a URI to the schema, and finds nothing in a trace",
    "is not a EPC URN": "the same",
    "is not a GTIN": "the same, for links at id.gs1.org",
    "is not a GS1 Digital Link": "the same, for links at id.gs1.org",
    "parentID is required with action ADD and DELETE": "EPCIS 2.0, 7.4.3: only with OBSERVE may it be left out",
    "of CBV 2.0": "a word in the CBV's own namespace is one of the CBV's, of the right list",
    "write the bare word of EPCIS 2.0": "a standard type spelt as CURIE would escape the rules of its type",
    "needs more than 64 bits": "quantities have limits",
    "Integer exceeds 64-bit range": "a context is kept, and whole numbers are kept to 64 bits",
    "closer to 0 than its reciprocal": "quantities have limits",
}
"""Where we refuse what GS1's JSON schema accepts: what the breach says, and why."""

WRONG: tuple[Any, ...] = (
    None, True, 0, 1.5, "", "x", "a b", [], [None], {}, {"x": 1}, "ex:y", "cbv:BizStep-foo", "gs1:Foo",
    "https://ref.gs1.org/cbv/BizStep-shipping", "https://ref.gs1.org/cbv/foo", "urn:epcglobal:cbv:bizstep:shipping",
    "urn:epc:id:sgtin:1.2.3", "https://id.gs1.org/01/1", "https://id.gs1.org/", "urn:epc:x", "epcis:ObjectEvent",
    10**20, 1e-40, "2020-13-01T00:00:00Z", "2020-01-01T00:00:00",
    "2020-01-01T00:00:00Z", "+15:00", "+03:0\u0663", "http://[x", "http://a/%zz", "http://a#b#c", "urn:x:\u6279",
    "observe", "OBSERVE", "KGM", "KILO",
)  # fmt: skip


def breaches(document: Any) -> list[str]:
    try:
        read_document(document if isinstance(document, bytes) else json.dumps(document).encode())
    except UnacceptableEvent as refused:
        return [str(breach) for breach in refused.breaches]
    return []


@pytest.fixture(scope="session")
def schema(shared_data: Path) -> jsonschema_rs.Draft7Validator:
    """GS1's own JSON schema of EPCIS 2.0."""
    file = shared_data / "epcis/gs1/schema/EPCIS-JSON-Schema.json"
    return jsonschema_rs.Draft7Validator(json.loads(file.read_text(encoding="utf-8")), validate_formats=True)


def files(folder: Path, pattern: str = "*.json*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_comments(inner) for name, inner in value.items() if not name.startswith("_comment")}
    return [without_comments(inner) for inner in value] if isinstance(value, list) else value


def test_all_of_gs1s_own_documents_are_accepted(shared_data: Path) -> None:
    found = files(shared_data / "epcis/gs1/json")
    assert len(found) == 47
    assert {path.name: breaches(path.read_bytes()) for path in found if breaches(path.read_bytes())} == {}


def test_all_valid_documents_of_openepcis_are_accepted(shared_data: Path) -> None:
    found = files(shared_data / "epcis/openepcis/json/valid")
    assert len(found) == 19
    assert {path.name: breaches(path.read_bytes()) for path in found if breaches(path.read_bytes())} == {}


def test_all_invalid_documents_of_openepcis_are_refused_with_event_and_path(shared_data: Path) -> None:
    found = files(shared_data / "epcis/openepcis/json/invalid")
    assert len(found) == 8
    for path in found:
        assert breaches(path.read_bytes())[0].startswith("event 0, $.epcisBody.eventList[0]"), path.name


def test_all_food_documents_of_fsma_204_are_accepted_without_their_comments(shared_data: Path) -> None:
    found = files(shared_data / "epcis/fsma204")
    assert len(found) == 7
    for path in found:
        assert breaches(without_comments(json.loads(path.read_bytes()))) == [], path.name
        assert breaches(path.read_bytes()), "_comment has no prefix"


def test_all_documents_with_published_hashes_are_accepted(shared_data: Path) -> None:
    found = files(shared_data / "epcis/event-hash")
    assert found
    assert {path.name: breaches(path.read_bytes()) for path in found if breaches(path.read_bytes())} == {}


def test_a_measurement_type_that_gs1s_schema_does_not_know_is_refused_by_both(
    shared_data: Path, schema: jsonschema_rs.Draft7Validator
) -> None:
    data = (shared_data / "epcis/openepcis/json/query/TransactionEvent_with_userExtensions.json").read_bytes()
    assert not schema.is_valid(json.loads(data))
    assert "'EffectiveDoseRate' is not a measurement type" in breaches(data)[0]


def nodes(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from nodes(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from nodes(inner, (*path, index))


def changed(document: Any, path: tuple[str | int, ...], value: Any = ...) -> Any:
    """A copy with `value` at `path`, or with nothing there."""
    document = copy.deepcopy(document)
    target = document
    for step in path[:-1]:
        target = target[step]
    if value is ...:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return document


def mutations(document: Any, seen: set[tuple[Any, ...]]) -> Iterator[Any]:
    """Each field dropped, of a wrong type, null, doubled; a field too many at each level. Each sort of place once."""
    for path, value in nodes(document):
        sort = (*("*" if isinstance(step, int) else step for step in path), type(value).__name__)
        if sort in seen:
            continue
        seen.add(sort)
        if path:
            yield changed(document, path)
            yield from (changed(document, path, wrong) for wrong in WRONG)
        if isinstance(value, dict):
            for extra in ("unknownField", "gs1:known", "nobody:undeclared", "https://example.com/full", "a b:c"):
                yield changed(document, (*path, extra), 1)
        elif isinstance(value, list) and value and path:
            yield changed(document, path, [*value, value[0]])


def test_we_agree_with_gs1s_schema_on_every_mutation_but_where_we_say_why_not(
    shared_data: Path, schema: jsonschema_rs.Draft7Validator
) -> None:
    documents = [
        json.loads(path.read_bytes())
        for folder in ("gs1/json", "openepcis/json/valid", "openepcis/json/query")
        for path in files(shared_data / "epcis" / folder)
    ]
    seen: dict[str, set[tuple[Any, ...]]] = {}
    count, reasons, lenient, unexplained = 0, set(), 0, []
    for document in documents:
        assert schema.is_valid(document) == (not breaches(document))
        for mutation in mutations(document, seen.setdefault(document["type"], set())):
            count += 1
            theirs, ours = schema.is_valid(mutation), breaches(mutation)
            if theirs == (not ours):
                continue
            reason = next((said for said in STRICTER if any(said in breach for breach in ours)), None)
            if theirs and reason:
                reasons.add(reason)
            elif not ours and repeated_context(mutation):
                lenient += 1  # the one thing that we accept and it does not: a context named twice says nothing new
            else:
                unexplained.append((theirs, ours, mutation))
    assert unexplained == []
    assert (count > 10_000, lenient, reasons) == (True, 3, {*STRICTER})


def repeated_context(document: Any) -> bool:
    contexts = [value for path, value in nodes(document) if path and path[-1] == "@context"]
    return any(isinstance(value, list) and value[-1] in value[:-1] for value in contexts)


def test_every_word_list_is_the_schemas_own(schema: jsonschema_rs.Draft7Validator, shared_data: Path) -> None:
    file = shared_data / "epcis/gs1/schema/EPCIS-JSON-Schema.json"
    definitions = json.loads(file.read_text(encoding="utf-8"))["definitions"]
    for name, ours in (
        ("bizStep", vocabulary.BUSINESS_STEPS),
        ("disposition", vocabulary.DISPOSITIONS),
        ("bizTransaction-type", vocabulary.TRANSACTION_TYPES),
        ("source-dest-type", vocabulary.PARTY_TYPES),
        ("error-reason", vocabulary.ERROR_REASONS),
        ("component", vocabulary.COMPONENTS),
        ("measurementType", vocabulary.MEASUREMENT_TYPES),
        ("sensorAlertType", vocabulary.ALERT_TYPES),
    ):
        (theirs,) = (choice["enum"] for choice in definitions[name]["anyOf"] if "enum" in choice)
        assert set(theirs) == ours.words, name


def test_the_standard_prefixes_are_those_of_gs1s_context(shared_data: Path) -> None:
    file = shared_data / "epcis/gs1/schema/epcis-context.jsonld"
    terms = json.loads(file.read_text(encoding="utf-8"))["@context"]
    prefixes = {name for name, target in terms.items() if isinstance(target, str) and target[-1] in "/#:"}
    assert prefixes == vocabulary.STANDARD_PREFIXES


def test_the_vectors_of_broken_documents_are_all_there() -> None:
    assert len(files(INVALID, "*.jsonld")) == len(EXPECTED) == 46
    assert {path.stem for path in files(INVALID, "*.jsonld")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_document_that_breaks_one_rule_is_refused_there(name: str) -> None:
    with pytest.raises(UnacceptableEvent) as refused:
        read_document((INVALID / f"{name}.jsonld").read_bytes())
    assert {(b.event, b.path) for b in refused.value.breaches} == {(EXPECTED[name]["event"], EXPECTED[name]["path"])}


GTIN, LOT = "https://id.gs1.org/01/10614141073464", "https://id.gs1.org/01/10614141073464/10/A"
CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"ex": "https://ns.example.com/epcis/"}]
OBJECT = {
    "@context": CONTEXT, "type": "ObjectEvent", "eventTime": "2026-11-23T06:00:00+08:00", "action": "OBSERVE",
    "eventTimeZoneOffset": "+08:00", "epcList": [LOT],
}  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"epcList": []},
        {"bizStep": "https://ref.gs1.org/cbv/BizStep-shipping"},
        {"bizStep": "cbv:BizStep-shipping", "disposition": "cbv:Disp-in_transit"},
        {"bizStep": "https://example.com/steps/smoking"},
        {"bizStep": "ex:smoking"},
        {"eventTime": "2026-12-31T23:59:60Z"},
        {"eventTime": "0001-01-01T00:00:00Z"},
        {"eventTime": "9999-12-31T23:59:59.999999999999Z"},
        {"eventTime": "2026-11-23t06:00:00.5z", "eventTimeZoneOffset": "-14:00"},
        {"eventID": "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8"},
        {"certificationInfo": "https://accreditation.example/x"},
        {"certificationInfo": ["https://accreditation.example/x", "urn:epc:id:sgtin:broken-but-a-certificate"]},
        {"quantityList": [{"epcClass": GTIN}, {"epcClass": LOT, "quantity": 0.1234567890123456789, "uom": "KGM"}]},
        {"action": "ADD", "ilmd": {"cbvmda:lotNumber": "A", "ex:nested": {"any thing": [None, {"": 1}]}}},
        {"epcList": ["http://[2001:db8::1]/items/5"]},
        {"epcList": ["urn:epc:idpat:sgtin:0614141.*.*"]},
        {"sensorElementList": [{"sensorReport": [{"type": "gs1:EffectiveDoseRate", "ex:raw": None}]}]},
        {"ex:批次": "五"},
        {"type": "ex:Slaughter", "inputEPCList": [LOT], "childEPCs": [LOT]},
    ],
)
def test_what_the_standard_leaves_open_is_open(fields: dict) -> None:
    assert breaches({**OBJECT, **fields}) == []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"eventTime": "0001-01-01T00:00:00+08:00"}, "$.eventTime"),
        ({"eventTime": "2025-02-29T00:00:00Z"}, "$.eventTime"),
        ({"eventTime": "2026-11-23 06:00:00Z"}, "$.eventTime"),
        ({"eventTime": "２０２６-11-23T06:00:00Z"}, "$.eventTime"),
        ({"eventTime": "2026-11-23T06:00:00Z\n"}, "$.eventTime"),
        ({"eventTime": "2026-11-23T06:00:00." + "1" * 31 + "Z"}, "$.eventTime"),
        ({"eventTimeZoneOffset": "+08:0０"}, "$.eventTimeZoneOffset"),
        ({"eventTimeZoneOffset": "+14:01"}, "$.eventTimeZoneOffset"),
        ({"eventTimeZoneOffset": "+08:60"}, "$.eventTimeZoneOffset"),
        ({"bizStep": "ex:" + "x" * 1000}, "$.bizStep"),
        ({"bizStep": "a b:c"}, "$.bizStep"),
        ({"bizStep": ""}, "$.bizStep"),
        ({"bizStep": "Shipping"}, "$.bizStep"),
        ({"epcList": ["urn:x:" + "x" * 995]}, "$.epcList[0]"),
        ({"epcList": LOT}, "$.epcList"),
        ({"epcList": [f"urn:x:{i}" for i in range(20_001)]}, "$.epcList"),
        ({"quantityList": [{"epcClass": GTIN, "quantity": True}]}, "$.quantityList[0].quantity"),
        ({"quantityList": [{"epcClass": GTIN, "quantity": 2**63}]}, "$.quantityList[0].quantity"),
        ({"quantityList": [{"epcClass": GTIN, "quantity": 1e31}]}, "$.quantityList[0].quantity"),
        ({"quantityList": [{"epcClass": GTIN, "uom": "ＫＧ"}]}, "$.quantityList[0].uom"),
        ({"ex:": 1}, "$['ex:']"),
        ({":x": 1}, "$[':x']"),
        ({"ex:a b": 1}, "$['ex:a b']"),
        ({"ex:\x00": 1}, "$['ex:\x00']"),
        ({"it's": 1}, "$['it\\'s']"),
        ({"https://example.com/a b": 1}, "$['https://example.com/a b']"),
        ({"type": "nobody:Slaughter"}, "$.type"),
        ({"type": "https://ref.gs1.org/epcis/ObjectEvent"}, "$.type"),
        ({"type": ["ObjectEvent"]}, "$"),
        ({"type": "https://example.com/a b"}, "$.type"),
    ],
)
def test_what_the_standard_does_not_allow_is_refused_with_its_path(fields: dict, path: str) -> None:
    with pytest.raises(UnacceptableEvent) as refused:
        read_document(json.dumps({**OBJECT, **fields}).encode())
    assert {breach.path for breach in refused.value.breaches} == {path}


def test_an_epc_that_stands_twice_at_the_end_of_a_long_list_is_named() -> None:
    many = [f"urn:x:{i}" for i in range(19_998)]
    assert breaches({**OBJECT, "epcList": [*many, "urn:x:5"]}) == ["$.epcList: 'urn:x:5' stands in it twice"]


@pytest.mark.parametrize("kind", EVENT_TYPES)
@pytest.mark.parametrize("missing", ["eventTime", "eventTimeZoneOffset"])
def test_every_type_needs_time_and_offset(kind: str, missing: str) -> None:
    said = breaches({"@context": CONTEXT, "type": kind, "eventTime": 5, "eventTimeZoneOffset": 5, missing: None})
    assert any(f"$.{missing}:" in breach for breach in said)


instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))


@given(instants, st.integers(-14 * 60, 14 * 60), st.integers(0, 9))
def test_a_time_is_read_to_the_microsecond_whatever_its_offset_and_digits(
    local: datetime, offset: int, places: int
) -> None:
    sign, hours, minutes = "-" if offset < 0 else "+", *divmod(abs(offset), 60)
    fraction = f"{local.microsecond:06d}000"[:places]
    text = f"{local:%Y-%m-%dT%H:%M:%S}{'.' + fraction if places else ''}{sign}{hours:02d}:{minutes:02d}"
    kept = local.replace(microsecond=int(fraction.ljust(6, "0")[:6]) if places else 0, tzinfo=UTC)
    assert parse_time(text) == kept - timedelta(minutes=offset)


def test_a_leap_second_is_the_second_before() -> None:
    assert parse_time("2016-12-31T23:59:60.25Z") == datetime(2016, 12, 31, 23, 59, 59, 250_000, UTC)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader_of_times_but_by_its_own_error(text: str) -> None:
    try:
        parse_time(text)
    except ValueError as refused:
        assert "is no time" in str(refused)


@pytest.mark.parametrize("text", ["a:b", "urn:x:%41", "http://[::1]:80/x?y#z", "A1+.-:x", "x:?", "ni:///sha-256;00?v"])
def test_a_uri_is_a_uri(text: str) -> None:
    assert is_uri(text)


@pytest.mark.parametrize(
    "text", ["", "a", ":a", "1a:b", "a:", "a:b c", "a:%4", "a:[", "a:b#c#d", "a:\n", "a:批", 'a:"']
)
def test_what_is_no_uri_is_none(text: str) -> None:
    assert not is_uri(text)

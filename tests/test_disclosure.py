"""What is open and what is sealed: nothing sealed shows in the open part, and both together are the event again."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.disclosure import DROPPED, OPEN, OPEN_INSIDE, SEALED, split, whole
from ledger.documents import read_document, read_json
from ledger.events import (
    AggregationEvent,
    AssociationEvent,
    ErrorDeclaration,
    ExtensionEvent,
    ObjectEvent,
    SensorMetadata,
    SensorReport,
    TransactionEvent,
    TransformationEvent,
)

TYPES = (AggregationEvent, AssociationEvent, ExtensionEvent, ObjectEvent, TransactionEvent, TransformationEvent)
SECRET = "what nobody may read"

names = st.text("a/~:01 批\"'\\", min_size=1, max_size=6).map(lambda name: "ex:" + name)
extensions = st.dictionaries(
    names, st.recursive(st.just(SECRET), lambda v: st.lists(v, max_size=2) | st.dictionaries(names, v, max_size=2)),
    max_size=3,
)  # fmt: skip


def with_extensions(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An element with some of `fields` and some extension fields."""
    return st.builds(lambda own, more: {**own, **more}, st.fixed_dictionaries({}, optional=fields), extensions)


words = st.text("abc", max_size=3)
generated = st.builds(
    lambda own, more: {"type": "ObjectEvent", **own, **more},
    st.fixed_dictionaries(
        {},
        optional={
            "eventID": words, "action": words, "epcList": st.lists(words), "recordTime": words, "@context": words,
            "bizTransactionList": st.just([{"type": "po", "bizTransaction": SECRET}]),
            "sourceList": st.just([{"type": "owning_party", "source": SECRET}]),
            "destinationList": st.just([{"type": "owning_party", "destination": SECRET}]),
            "readPoint": with_extensions(id=words), "bizLocation": with_extensions(id=words),
            "ilmd": with_extensions(**{"cbvmda:lotNumber": words, "cbvmda:informationProvider": st.just(SECRET)}),
            "errorDeclaration": with_extensions(declarationTime=words, reason=words),
            "sensorElementList": st.lists(
                with_extensions(
                    sensorMetadata=with_extensions(time=words),
                    sensorReport=st.lists(with_extensions(type=words, value=st.integers()), max_size=2),
                ),
                max_size=2,
            ),
        },
    ),
    extensions,
)  # fmt: skip


def kept(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("recordTime", "@context")}


@given(generated)
def test_the_two_parts_together_are_the_event_again(event: dict[str, Any]) -> None:
    before = copy.deepcopy(event)
    opened, sealed = split(event)
    parts = copy.deepcopy((opened, sealed))
    assert whole(opened, sealed) == kept(event)
    assert event == before and (opened, sealed) == parts, "arguments are not changed"


@given(generated)
def test_nothing_sealed_shows_in_the_open_part(event: dict[str, Any]) -> None:
    opened, _ = split(event)
    text = json.dumps(opened, ensure_ascii=False)
    assert SECRET not in text and "ex:" not in text and not SEALED & opened.keys()


@given(generated)
def test_the_sealed_part_names_each_value_by_its_json_pointer(event: dict[str, Any]) -> None:
    """RFC 6901: whoever checks the sealed part in another language finds the values where they stood."""
    for pointer, value in split(event)[1].items():
        target: Any = event
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            target = target[int(name)] if isinstance(target, list) else target[name]
        assert target == value


def documents(shared_data: Path) -> Iterator[bytes]:
    for folder in ("gs1/json", "openepcis/json/valid", "event-hash"):
        for path in sorted((shared_data / "epcis" / folder).rglob("*.json*")):
            yield path.read_bytes()


def test_every_public_document_is_whole_again(shared_data: Path) -> None:
    count = 0
    for data in documents(shared_data):
        for event, _ in read_document(data).events:
            count += 1
            opened, sealed = split(event)
            assert whole(opened, sealed) == kept(event)
            assert not SEALED & opened.keys()
            assert all(":" not in name for name in opened)
    assert count > 100


def test_trade_in_public_documents_is_sealed(shared_data: Path) -> None:
    """Every business document and counterparty of every event; not one is in the open part."""
    found = 0
    for data in documents(shared_data):
        for event, _ in read_document(data).events:
            for field in SEALED & event.keys():
                found += 1
                assert split(event)[1]["/" + field] == event[field]
    assert found > 20


def test_every_standard_field_is_decided_by_the_table() -> None:
    """A field that the table forgot would be sealed without anybody having decided it."""
    fields = {field.alias or name for kind in TYPES for name, field in kind.model_fields.items()}
    assert fields == OPEN | SEALED | DROPPED | (OPEN_INSIDE.keys() & fields) | {"sensorElementList"}
    assert not OPEN & SEALED
    assert OPEN_INSIDE["sensorReport"] == SensorReport.model_fields.keys()
    assert OPEN_INSIDE["sensorMetadata"] == SensorMetadata.model_fields.keys()
    assert OPEN_INSIDE["errorDeclaration"] == ErrorDeclaration.model_fields.keys()


@pytest.mark.parametrize(
    ("event", "opened", "sealed"),
    [
        ({"ex:price": 5}, {}, {"/ex:price": 5}),
        ({"ex:a/b~c": 5}, {}, {"/ex:a~1b~0c": 5}),
        ({"https://example.com/x": 5}, {}, {"/https:~1~1example.com~1x": 5}),
        ({"readPoint": {"id": "u:r", "ex:a": 1}}, {"readPoint": {"id": "u:r"}}, {"/readPoint/ex:a": 1}),
        ({"ilmd": {"cbvmda:lotNumber": "L", "ex:cost": 9}}, {"ilmd": {"cbvmda:lotNumber": "L"}}, {"/ilmd/ex:cost": 9}),
        ({"ilmd": {"lot:lotNumber": "L"}}, {"ilmd": {}}, {"/ilmd/lot:lotNumber": "L"}),
        (
            {"sensorElementList": [{"ex:a": 0, "sensorReport": [{"type": "t"}, {"type": "t", "ex:b": 1}]}]},
            {"sensorElementList": [{"sensorReport": [{"type": "t"}, {"type": "t"}]}]},
            {"/sensorElementList/0/ex:a": 0, "/sensorElementList/0/sensorReport/1/ex:b": 1},
        ),
        ({"recordTime": "t", "@context": {}}, {}, {}),
    ],
)
def test_the_table_is_followed(event: dict, opened: dict, sealed: dict) -> None:
    assert split(event) == (opened, sealed)


def test_sealed_numbers_are_whole_again_with_their_digits() -> None:
    event = read_json(b'{"type":"ObjectEvent","ex:price":{"amount":12.50,"of":[1e3]}}')
    assert str(whole(*split(event))["ex:price"]["amount"]) == "12.50"

"""What an event is looked up by: its items with their roles, and its columns, from the open part alone."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ledger.disclosure import split
from ledger.documents import read_document
from ledger.errors import UnreadableCode
from ledger.events import EVENT_TYPES
from ledger.identifiers import canonical_key
from ledger.index import EXTENSION_TYPE, Action, Mention, Role, columns, mentions

URN, LINK = "urn:epc:id:sgtin:0614141.107346.2018", "https://id.gs1.org/01/10614141073464/21/2018"
KEY = "01/10614141073464/21/2018"
CLASS, CLASS_KEY = "urn:epc:class:lgtin:4012345.012345.998877", "01/04012345123456/10/998877"


@pytest.mark.parametrize(
    ("field", "role"),
    [("epcList", 1), ("childEPCs", 3), ("inputEPCList", 4), ("outputEPCList", 5)],
)
def test_epcs_play_the_role_of_their_list_under_one_key(field: str, role: int) -> None:
    assert [*mentions({field: [URN, LINK]})] == [Mention(Role(role), KEY)] * 2


@pytest.mark.parametrize(
    ("field", "role"),
    [("quantityList", 1), ("childQuantityList", 3), ("inputQuantityList", 4), ("outputQuantityList", 5)],
)
def test_classes_bring_their_quantity_as_it_was_given(field: str, role: int) -> None:
    elements = [{"epcClass": CLASS, "quantity": Decimal("1.10"), "uom": "KGM"}, {"epcClass": CLASS, "quantity": 0}]
    found = [*mentions({field: [*elements, {"epcClass": CLASS}]})]
    assert found == [
        Mention(Role(role), CLASS_KEY, Decimal("1.10"), "KGM"), Mention(Role(role), CLASS_KEY, 0),
        Mention(Role(role), CLASS_KEY),
    ]  # fmt: skip
    assert str(found[0].quantity) == "1.10"


def test_parents_transformations_and_certificates_are_mentioned_too() -> None:
    event = {
        "parentID": "urn:epc:id:sscc:0614141.1234567890",
        "transformationID": "urn:epc:id:gdti:0614141.06012.1234",
        "certificationInfo": "https://accreditation.example/5",
    }
    assert {*mentions(event)} == {
        Mention(Role.PARENT, "00/106141412345678908"),
        Mention(Role.TRANSFORMATION, "253/06141410601221234"),
        Mention(Role.CERTIFICATE, "https://accreditation.example/5"),
    }


def test_a_certificate_that_looks_like_a_broken_link_is_still_somebodys_certificate() -> None:
    broken = ["urn:epc:id:sgtin:nonsense", "https://id.gs1.org/nothing"]
    assert [*mentions({"certificationInfo": broken})] == [Mention(Role.CERTIFICATE, uri) for uri in broken]


@pytest.mark.parametrize("field", ["epcList", "childEPCs", "inputEPCList", "outputEPCList"])
def test_a_broken_epc_never_gets_an_index_row(field: str) -> None:
    with pytest.raises(UnreadableCode):
        list(mentions({field: ["urn:epc:id:sgtin:nonsense"]}))


def test_trade_is_not_looked_up() -> None:
    """Whoever could look up a counterparty would learn what is sealed."""
    assert [*mentions({"bizTransactionList": [{"bizTransaction": URN}], "sourceList": [{"source": URN}]})] == []


EVENT = {"type": "ObjectEvent", "action": "ADD", "eventTime": "2026-11-23T06:00:00.5+08:00"}


def test_columns_are_bare_words_canonical_keys_and_utc() -> None:
    found = columns(
        {
            **EVENT,
            "bizStep": "https://ref.gs1.org/cbv/BizStep-shipping",
            "disposition": "cbv:Disp-in_transit",
            "readPoint": {"id": "urn:epc:id:sgln:0614141.12345.0"},
            "bizLocation": {"id": "https://example.com/414/0614141123452/254/7"},
        }
    )
    assert found == (
        1, Action.ADD, datetime(2026, 11, 22, 22, 0, 0, 500_000, UTC), "shipping", "in_transit", "414/0614141123452",
        "414/0614141123452/254/7",
    )  # fmt: skip


def test_what_an_event_does_not_say_is_no_column() -> None:
    assert columns({**EVENT, "type": "TransformationEvent", "action": "ADD"})[3:] == (None, None, None, None)
    bare = {"type": "ex:Slaughter", "eventTime": EVENT["eventTime"]}
    assert columns(bare)[:2] == (EXTENSION_TYPE, Action.NONE)


def test_a_partys_own_step_is_kept_as_its_uri() -> None:
    assert columns({**EVENT, "bizStep": "https://example.com/smoking"}).business_step == "https://example.com/smoking"


def test_the_numbers_of_the_types_are_those_of_the_tables() -> None:
    """They are stored; another order would make aggregations of old objects."""
    assert [columns({**EVENT, "type": kind}).type for kind in EVENT_TYPES] == [1, 2, 3, 4, 5]
    assert EVENT_TYPES[0] == "ObjectEvent" and EVENT_TYPES[4] == "AssociationEvent"
    assert [role.name for role in sorted(Role)][:3] == ["OBJECT", "PARENT", "CHILD"]


def test_every_public_event_is_indexed_alike_from_its_open_part(shared_data: Path) -> None:
    """The audit derives the index again from the open part that is stored."""
    count = 0
    for path in sorted((shared_data / "epcis").rglob("*.json*")):
        if not {"gs1", "valid"} & {*path.parts} or "schema" in path.parts:
            continue
        for event, _ in read_document(path.read_bytes()).events:
            opened, _ = split(event)
            assert [*mentions(opened)] == [*mentions(event)] and columns(opened) == columns(event)
            text = json.dumps(event, default=str)
            count += sum(1 for role, key, _, _ in mentions(event) if role != Role.CERTIFICATE and key)
            assert all(canonical_key(epc) in {m.key for m in mentions(event)} for epc in event.get("epcList", ())), text
    assert count > 150

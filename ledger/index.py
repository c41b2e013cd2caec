"""What an event is looked up by: its columns, and the items it speaks of with the role each plays.

Everything here is derived from the open part of an event alone, so that the audit can derive it again from the
stored bytes and compare. Pure.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

from ledger.events import EVENT_TYPES
from ledger.fields import parse_time
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.vocabulary import BUSINESS_STEPS, DISPOSITIONS

Json = dict[str, Any]


class Role(IntEnum):
    """The part an item plays in an event."""

    OBJECT = 1
    PARENT = 2
    CHILD = 3
    INPUT = 4
    OUTPUT = 5
    TRANSFORMATION = 6
    """Not goods but the id that ties several transformation events together."""
    CERTIFICATE = 7
    READ = 8
    """Not goods but a record of the registry whose private values were shown."""
    REFUSED = 9
    """A pack for which a command was decided against."""
    REFUSED_LATE = 10
    """The same of a command that came late from an outbox."""
    CHECKED = 11
    """Goods, or a certificate, that were checked at the gate."""


class Action(IntEnum):
    """EPCIS's action; a transformation has none."""

    NONE = 0
    ADD = 1
    OBSERVE = 2
    DELETE = 3


class Mention(NamedTuple):
    """One item in one role, with its quantity where the event gives one."""

    role: Role
    key: Key
    quantity: int | Decimal | None = None
    uom: str | None = None


_EPC_FIELDS = {
    "epcList": Role.OBJECT,
    "childEPCs": Role.CHILD,
    "inputEPCList": Role.INPUT,
    "outputEPCList": Role.OUTPUT,
}
_QUANTITY_FIELDS = {
    "quantityList": Role.OBJECT,
    "childQuantityList": Role.CHILD,
    "inputQuantityList": Role.INPUT,
    "outputQuantityList": Role.OUTPUT,
}
_SINGLE_FIELDS = {"parentID": Role.PARENT, "transformationID": Role.TRANSFORMATION}


_NO_QUANTITY: Json = {}


def named(event: Json) -> Iterator[tuple[Role, Key, Json]]:
    """Every item of `event` in the order it stands there, with the quantity element that names it, if one does."""
    for field, value in event.items():
        if field in _QUANTITY_FIELDS:
            role = _QUANTITY_FIELDS[field]
            for element in value:
                yield role, canonical_key(element["epcClass"]), element
        elif field in _EPC_FIELDS:
            role = _EPC_FIELDS[field]
            for epc in value:
                yield role, canonical_key(epc), _NO_QUANTITY
        elif field in _SINGLE_FIELDS:
            yield _SINGLE_FIELDS[field], canonical_key(value), _NO_QUANTITY
        elif field == "certificationInfo":
            for certificate in value if isinstance(value, list) else (value,):
                yield Role.CERTIFICATE, _certificate_key(certificate), _NO_QUANTITY


def mentions(event: Json) -> Iterator[Mention]:
    """Every item of `event` in the order it stands there; an item given twice comes twice."""
    for role, key, element in named(event):
        yield Mention(role, key, element.get("quantity"), element.get("uom"))


def _certificate_key(uri: str) -> Key:
    """Certificates have any URI; one that merely looks like a broken GS1 link is still somebody's certificate."""
    try:
        return canonical_key(uri)
    except ValueError:
        return Key(uri)


class Columns(NamedTuple):
    """What EPCIS queries ask of an event. Standard vocabulary values are bare words, places are canonical keys."""

    type: int
    action: Action
    event_time: datetime
    business_step: str | None
    disposition: str | None
    read_point: Key | None
    business_location: Key | None


_TYPE_NUMBER = {name: number for number, name in enumerate(EVENT_TYPES, 1)}
EXTENSION_TYPE = 0


def columns(event: Json) -> Columns:
    """The columns of a checked event (its open part is enough)."""
    step, disposition = event.get("bizStep"), event.get("disposition")
    read_point, location = event.get("readPoint"), event.get("bizLocation")
    return Columns(
        type=_TYPE_NUMBER.get(event["type"], EXTENSION_TYPE),
        action=Action[event.get("action", "NONE")],
        event_time=parse_time(event["eventTime"]),
        business_step=step if step is None or step in BUSINESS_STEPS.words else BUSINESS_STEPS.word(step),
        disposition=disposition
        if disposition is None or disposition in DISPOSITIONS.words
        else DISPOSITIONS.word(disposition),
        read_point=None if read_point is None else canonical_key(read_point["id"]),
        business_location=None if location is None else canonical_key(location["id"]),
    )

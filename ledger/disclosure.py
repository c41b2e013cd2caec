"""Which fields of an event are open and which are sealed: one table, for a lawyer to review.

Open is what whoever holds a code of the event may see: kind of step, place, times, goods, results. Sealed is
trade between parties (who sold to whom, under which document, at what price) and every extension field that is
not listed here, since nobody can know what is in it. An entry's bytes hold the open part and a salted hash of the
sealed part; the sealed part lies beside them as a JSON object from JSON Pointer (RFC 6901) to value, and `whole`
puts the two together again.

Pure.
"""

from collections.abc import Callable
from typing import Any

from ledger.codes import PARTY_URN
from ledger.gs1 import is_digits

Json = dict[str, Any]

OPEN = frozenset(
    """type eventID eventTime eventTimeZoneOffset action bizStep disposition persistentDisposition epcList
        quantityList parentID childEPCs childQuantityList inputEPCList inputQuantityList outputEPCList
        outputQuantityList transformationID certificationInfo""".split()
)
"""Open as a whole: these take no extension fields inside."""

OWN = frozenset(["suyuan:units", "suyuan:lots"])
"""Extension fields of our own that are open as a whole: what is said of packs (`ledger/packs/effects.py`)."""

OPEN_INSIDE: dict[str, frozenset[str]] = {
    "readPoint": frozenset({"id"}),
    "bizLocation": frozenset({"id"}),
    "errorDeclaration": frozenset({"declarationTime", "reason", "correctiveEventIDs"}),
    # CBV 2.0, 9.3: instance and lot master data that describes the goods, not the trade
    "ilmd": frozenset(
        f"cbvmda:{name}"
        for name in """lotNumber itemExpirationDate bestBeforeDate sellByDate firstFreezeDate countryOfOrigin
        countryOfExport drainedWeight grossWeight netWeight measurement measurementUnitCode storageStateCode
        preservationTechniqueCode harvestStartDate harvestEndDate productionMethodForFishAndSeafoodCode
        fishingGearTypeCode broadcastDate growingMethodCode descriptionShort descriptionLong functionalName
        dosageFormType strengthDescription netContentDescription tradeItemConditionCode""".split()
    ),
    "sensorMetadata": frozenset(
        """time startTime endTime deviceID deviceMetadata rawData dataProcessingMethod bizRules""".split()
    ),
    "sensorReport": frozenset(
        """type exception deviceID deviceMetadata rawData dataProcessingMethod bizRules time microorganism
        chemicalSubstance coordinateReferenceSystem value component stringValue booleanValue hexBinaryValue
        uriValue minValue maxValue meanValue sDev percRank percValue uom""".split()
    ),
}
"""Open for the fields named; any other field inside is sealed."""

SEALED = frozenset(["bizTransactionList", "sourceList", "destinationList"])
"""Sealed as a whole: business documents and counterparties."""

DROPPED = frozenset({"recordTime", "@context"})
"""Set by the ledger itself: the record time is the entry's own, the context lies beside the event."""


def split(event: Json) -> tuple[Json, Json]:
    """The open part of a checked event, and its sealed part as JSON Pointer to value; `event` is not changed."""
    opened: Json = {}
    sealed: Json = {}
    for name, value in event.items():
        if name in OPEN or name in OWN:
            opened[name] = value
        elif name in OPEN_INSIDE:
            opened[name] = _split_inside(value, OPEN_INSIDE[name], f"/{name}", sealed)
        elif name == "sensorElementList":
            opened[name] = [_split_sensor(element, f"/{name}/{i}", sealed) for i, element in enumerate(value)]
        elif name not in DROPPED:
            sealed["/" + _escape(name)] = value
    return opened, sealed


def _split_inside(value: Json, allowed: frozenset[str], path: str, sealed: Json) -> Json:
    if value.keys() <= allowed:
        return value
    sealed |= {f"{path}/{_escape(name)}": inner for name, inner in value.items() if name not in allowed}
    return {name: inner for name, inner in value.items() if name in allowed}


def _split_sensor(element: Json, path: str, sealed: Json) -> Json:
    opened: Json = {}
    for name, value in element.items():
        if name == "sensorMetadata":
            opened[name] = _split_inside(value, OPEN_INSIDE[name], f"{path}/{name}", sealed)
        elif name == "sensorReport":
            opened[name] = [
                _split_inside(report, OPEN_INSIDE[name], f"{path}/{name}/{i}", sealed) for i, report in enumerate(value)
            ]
        else:
            sealed[f"{path}/{_escape(name)}"] = value
    return opened


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def whole(opened: Json, sealed: Json) -> Json:
    """The event again, from its open part and what was sealed; neither argument is changed."""
    event: Json = _copy(opened)
    for pointer, value in sealed.items():
        *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
        target: Any = event
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        target[last] = value
    return event


_DEAL = ("/sourceList", "/destinationList", "/bizTransactionList")


def of_partner(sealed: Json, may_see: Callable[[int], bool]) -> Json:
    """What of a step's sealed part its other side may see, one back and one forward: who dealt, under which paper.

    `may_see` says of a node whether it is the reader's.
    """
    parties = [str(party) for name in _DEAL[:2] for one in sealed.get(name, ()) for party in one.values()]
    nodes = [party.removeprefix(PARTY_URN)[:9] for party in parties if party.startswith(PARTY_URN)]
    if not any(may_see(int(node)) for node in nodes if is_digits(node)):
        return {}
    return {name: sealed[name] for name in _DEAL if name in sealed}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value

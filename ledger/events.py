"""EPCIS 2.0 events and documents as types: what the standard allows, and nothing else.

The models are the schema (EPCIS 2.0, JSON binding; CBV 2.0 for the vocabularies). They check; they do not
rewrite: the ledger stores what came. Extension fields must carry a prefix that the document declares, or be a
full URI, and are kept whole. Where GS1's examples and its schema leave room, the decisions are:

* a prefix counts as declared if the document's or the event's context declares it, if EPCIS's own context does,
  or if the context names a document of somebody else, which we never fetch and which may declare it;
* a standard vocabulary value may be the bare word, its CURIE or its web URI; an unknown bare word is refused;
* event types of others (a CURIE or URI) are accepted with the common fields and any standard ones.

Pure. Reading bytes, limits and documents: `ledger/documents.py`.
"""

from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ledger.fields import (
    ABSENT,
    LIST_LENGTH_MAX,
    Action,
    BusinessStep,
    Closed,
    Disposition,
    Epc,
    HexBinary,
    Number,
    Offset,
    Open,
    Text,
    Time,
    UnitOfMeasure,
    Uri,
    breach,
    require_declared,
    word,
)
from ledger.vocabulary import ALERT_TYPES, COMPONENTS, ERROR_REASONS, MEASUREMENT_TYPES, PARTY_TYPES, TRANSACTION_TYPES


class QuantityElement(Closed):
    """How much of a class of goods; without `uom` a count, without `quantity` unknown (EPCIS 7.3.3.3)."""

    epcClass: Epc
    quantity: Number = ABSENT
    uom: UnitOfMeasure = ABSENT


class PersistentDisposition(Closed):
    """Dispositions that hold until unset; at least one of the two lists."""

    set: Annotated[list[Disposition], Field(min_length=1)] = ABSENT
    unset: Annotated[list[Disposition], Field(min_length=1)] = ABSENT

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.set is None and self.unset is None:
            raise breach("it holds neither set nor unset")
        for values in (self.set, self.unset):
            if values is not None and len({*values}) < len(values):
                raise breach("it names a disposition twice")
        return self


class Place(Open):
    """A read point or business location."""

    id: Epc


class BusinessTransaction(Closed):
    """A reference to a business document."""

    type: Annotated[str, word(TRANSACTION_TYPES)] = ABSENT
    bizTransaction: Epc


class Source(Closed):
    """Who or where the goods come from."""

    type: Annotated[str, word(PARTY_TYPES)]
    source: Epc


class Destination(Closed):
    """Who or where the goods go to."""

    type: Annotated[str, word(PARTY_TYPES)]
    destination: Epc


class SensorMetadata(Open):
    """What holds for all reports of one sensor element."""

    time: Time = ABSENT
    startTime: Time = ABSENT
    endTime: Time = ABSENT
    deviceID: Uri = ABSENT
    deviceMetadata: Uri = ABSENT
    rawData: Uri = ABSENT
    dataProcessingMethod: Uri = ABSENT
    bizRules: Uri = ABSENT


class SensorReport(Open):
    """One observation of one property."""

    type: Annotated[str, word(MEASUREMENT_TYPES)]
    exception: Annotated[str, word(ALERT_TYPES)] = ABSENT
    deviceID: Uri = ABSENT
    deviceMetadata: Uri = ABSENT
    rawData: Uri = ABSENT
    dataProcessingMethod: Uri = ABSENT
    bizRules: Uri = ABSENT
    time: Time = ABSENT
    microorganism: Uri = ABSENT
    chemicalSubstance: Uri = ABSENT
    coordinateReferenceSystem: Uri = ABSENT
    value: Number = ABSENT
    component: Annotated[str, word(COMPONENTS)] = ABSENT
    stringValue: Text = ABSENT
    booleanValue: bool = ABSENT
    hexBinaryValue: HexBinary = ABSENT
    uriValue: Uri = ABSENT
    minValue: Number = ABSENT
    maxValue: Number = ABSENT
    meanValue: Number = ABSENT
    sDev: Number = ABSENT
    percRank: Number = ABSENT
    percValue: Number = ABSENT
    uom: Text = ABSENT


class SensorElement(Open):
    """Sensor data of an event: at least one report."""

    sensorMetadata: SensorMetadata = ABSENT
    sensorReport: Annotated[list[SensorReport], Field(min_length=1, max_length=LIST_LENGTH_MAX)]


class InstanceLotMasterData(Open):
    """What is true of the very instances or lot that the event brings into being: extension fields only."""


class ErrorDeclaration(Open):
    """This event, recorded before, is in error (EPCIS 7.4.1.4)."""

    declarationTime: Time
    reason: Annotated[str, word(ERROR_REASONS)] = ABSENT
    correctiveEventIDs: Annotated[list[Uri], Field(max_length=LIST_LENGTH_MAX)] = ABSENT


def _each_once(values: list[str]) -> list[str]:
    if len({*values}) < len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise breach(f"{twice!r} stands in it twice")
    return values


EpcList = Annotated[list[Epc], Field(max_length=LIST_LENGTH_MAX)]
EpcSet = Annotated[EpcList, AfterValidator(_each_once)]
QuantityList = Annotated[list[QuantityElement], Field(max_length=LIST_LENGTH_MAX)]
TransactionList = Annotated[list[BusinessTransaction], Field(max_length=LIST_LENGTH_MAX)]


class Event(Open):
    """The fields that every event has (EPCIS 7.4.1), and those that all five standard types may have."""

    context: Any = Field(default=ABSENT, alias="@context")
    eventID: Uri = ABSENT
    eventTime: Time
    recordTime: Time = ABSENT
    eventTimeZoneOffset: Offset
    certificationInfo: Annotated[list[Uri], Field(max_length=LIST_LENGTH_MAX)] | Uri = ABSENT
    errorDeclaration: ErrorDeclaration = ABSENT
    bizStep: BusinessStep = ABSENT
    disposition: Disposition = ABSENT
    readPoint: Place = ABSENT
    bizLocation: Place = ABSENT
    bizTransactionList: TransactionList = ABSENT
    sourceList: Annotated[list[Source], Field(max_length=LIST_LENGTH_MAX)] = ABSENT
    destinationList: Annotated[list[Destination], Field(max_length=LIST_LENGTH_MAX)] = ABSENT
    sensorElementList: Annotated[list[SensorElement], Field(max_length=LIST_LENGTH_MAX)] = ABSENT


class ObjectEvent(Event):
    """Something happened to goods, singly or by class (EPCIS 7.4.2)."""

    type: Literal["ObjectEvent"]
    action: Action
    epcList: EpcSet = ABSENT
    quantityList: QuantityList = ABSENT
    persistentDisposition: PersistentDisposition = ABSENT
    ilmd: InstanceLotMasterData = ABSENT

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        sensed = self.sensorElementList and self.readPoint is not None
        if self.epcList is None and not self.quantityList and not sensed:
            raise breach("an ObjectEvent needs epcList, quantityList, or sensorElementList with readPoint")
        if self.ilmd is not None and self.action != "ADD":
            raise breach("ilmd is allowed with action ADD only")
        return self


class _Containment(Event):
    """What aggregation and association share: a parent and its children."""

    action: Action
    parentID: Epc = ABSENT
    childEPCs: EpcList = ABSENT
    childQuantityList: QuantityList = ABSENT

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.action != "DELETE" and not self.childEPCs and not self.childQuantityList:
            raise breach("it needs childEPCs or childQuantityList, except with action DELETE")
        if self.action != "OBSERVE" and self.parentID is None:
            raise breach("parentID is required with action ADD and DELETE")
        return self


class AggregationEvent(_Containment):
    """Goods were put into, seen in or taken out of a container (EPCIS 7.4.3)."""

    type: Literal["AggregationEvent"]


class AssociationEvent(_Containment):
    """Things were attached to, seen on or taken off a thing or place that stays itself (EPCIS 7.4.6)."""

    type: Literal["AssociationEvent"]
    parentID: Epc


class TransactionEvent(Event):
    """Goods were tied to or freed from a business transaction (EPCIS 7.4.4)."""

    type: Literal["TransactionEvent"]
    action: Action
    bizTransactionList: Annotated[TransactionList, Field(min_length=1)]
    parentID: Epc = ABSENT
    epcList: EpcList = ABSENT
    quantityList: QuantityList = ABSENT

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.action != "DELETE" and self.epcList is None and not self.quantityList:
            raise breach("it needs epcList or quantityList, except with action DELETE")
        return self


class TransformationEvent(Event):
    """Inputs were consumed and outputs came into being (EPCIS 7.4.5)."""

    type: Literal["TransformationEvent"]
    transformationID: Epc = ABSENT
    inputEPCList: EpcSet = ABSENT
    inputQuantityList: QuantityList = ABSENT
    outputEPCList: EpcSet = ABSENT
    outputQuantityList: QuantityList = ABSENT
    persistentDisposition: PersistentDisposition = ABSENT
    ilmd: InstanceLotMasterData = ABSENT

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        inputs, outputs = self.inputEPCList or self.inputQuantityList, self.outputEPCList or self.outputQuantityList
        if not (inputs or outputs):
            raise breach("a TransformationEvent needs inputs or outputs")
        if not (inputs and outputs) and self.transformationID is None:
            raise breach("without transformationID, a TransformationEvent needs both inputs and outputs")
        return self


_EPCIS_NAMES = ("epcis:", "https://ref.gs1.org/epcis/", "https://ns.gs1.org/epcis/", "urn:epcglobal:epcis:")


class ExtensionEvent(Event):
    """An event type of somebody else's vocabulary, with any of the standard fields."""

    type: Uri
    action: Action = ABSENT
    parentID: Epc = ABSENT
    epcList: EpcList = ABSENT
    quantityList: QuantityList = ABSENT
    childEPCs: EpcList = ABSENT
    childQuantityList: QuantityList = ABSENT
    transformationID: Epc = ABSENT
    inputEPCList: EpcList = ABSENT
    inputQuantityList: QuantityList = ABSENT
    outputEPCList: EpcList = ABSENT
    outputQuantityList: QuantityList = ABSENT
    persistentDisposition: PersistentDisposition = ABSENT
    ilmd: InstanceLotMasterData = ABSENT

    @field_validator("type")
    @classmethod
    def _type_is_declared(cls, name: str, info: ValidationInfo) -> str:
        if name.startswith(_EPCIS_NAMES):
            raise breach(f"{name!r} is no type of somebody else's; write the bare word of EPCIS 2.0")
        require_declared(name, info.context)
        return name


EVENT_TYPES = ("ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent")
"""The five standard types, in the order of their numbers in the `event` table."""


def _which(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        return None
    return kind if kind in EVENT_TYPES else "ExtensionEvent" if ":" in kind else None


AnyEvent = Annotated[
    Annotated[ObjectEvent, Tag("ObjectEvent")]
    | Annotated[AggregationEvent, Tag("AggregationEvent")]
    | Annotated[TransactionEvent, Tag("TransactionEvent")]
    | Annotated[TransformationEvent, Tag("TransformationEvent")]
    | Annotated[AssociationEvent, Tag("AssociationEvent")]
    | Annotated[ExtensionEvent, Tag("ExtensionEvent")],
    Discriminator(
        _which,
        custom_error_type="epcis",
        custom_error_message="type is none of EPCIS 2.0's five event types, and no URI or CURIE",
    ),
]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)

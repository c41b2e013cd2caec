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

import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ledger.errors import UnreadableCode
from ledger.identifiers import URI_LENGTH_MAX, canonical_key
from ledger.vocabulary import (
    ALERT_TYPES,
    BUSINESS_STEPS,
    COMPONENTS,
    DISPOSITIONS,
    ERROR_REASONS,
    MEASUREMENT_TYPES,
    PARTY_TYPES,
    STANDARD_PREFIXES,
    TRANSACTION_TYPES,
    Vocabulary,
)

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LEAP_SECOND = re.compile(r":60(?=[.Zz+-])")


def _breach(reason: object) -> PydanticCustomError:
    return PydanticCustomError("epcis", "{reason}", {"reason": str(reason)})


@lru_cache(maxsize=1 << 14)
def parse_time(text: str) -> datetime:
    """The RFC 3339 time in `text` as UTC, to the microsecond; a leap second counts as the second before.

    `ValueError` if it is no time, or lies outside the years 1 to 9999 in UTC.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # a leap second or a small z, which Python does not take; or no time at all
    try:
        return datetime.fromisoformat(_LEAP_SECOND.sub(":59", text.upper())).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: {error}") from None


def _check_time(text: str) -> str:
    try:
        parse_time(text)
    except ValueError as error:
        raise _breach(error) from None
    return text


def _check_epc(uri: str) -> str:
    try:
        canonical_key(uri)
    except UnreadableCode as error:
        raise _breach(error) from None
    return uri


def _check_number(number: int | Decimal) -> int | Decimal:
    if isinstance(number, Decimal):
        if not -30 <= number.adjusted() <= 30:
            raise _breach("the number is beyond 10 to the power of 30, or closer to 0 than its reciprocal")
    elif not -(2**63) <= number < 2**63:
        raise _breach("the whole number needs more than 64 bits")
    return number


def _word(vocabulary: Vocabulary) -> Any:
    @lru_cache(maxsize=4096)
    def check(value: str) -> str:
        try:
            if len(value) > URI_LENGTH_MAX:
                raise ValueError(f"it is longer than {URI_LENGTH_MAX} characters")
            vocabulary.word(value)
        except ValueError as error:
            raise _breach(error) from None
        if value not in vocabulary.words and not _URI_SHAPE.fullmatch(value):
            raise _breach(f"{value!r} is no URI")
        return value

    return AfterValidator(check)


# RFC 3986: brackets only around an IP address, # once. ASCII digits only, since \d takes every script's.
_URI_CHARACTER = r"(?:[A-Za-z0-9\-._~:/?@!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
_URI_PATTERN = (
    r"^[A-Za-z][A-Za-z0-9+.\-]*:"
    rf"(?://\[[0-9A-Fa-f:.]+\]{_URI_CHARACTER}*|{_URI_CHARACTER}+)(?:#{_URI_CHARACTER}*)?$"
)
_URI_SHAPE = re.compile(_URI_PATTERN)
_TIME_PATTERN = (
    r"^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)"
    r"(?:\.[0-9]{1,30})?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)


def is_uri(text: str) -> bool:
    """Whether `text` is an absolute URI (RFC 3986)."""
    return _URI_SHAPE.fullmatch(text) is not None


LIST_LENGTH_MAX = 20_000
DEPTH_MAX = 60
"""Of what one extension field holds."""
ABSENT: Any = None
"""The default of optional fields. Defaults are not validated, so leaving a field out is allowed and null is not."""

Uri = Annotated[str, Field(pattern=_URI_PATTERN, max_length=URI_LENGTH_MAX)]
Epc = Annotated[Uri, AfterValidator(_check_epc)]
Time = Annotated[str, Field(pattern=_TIME_PATTERN), AfterValidator(_check_time)]
Number = Annotated[int | Decimal, AfterValidator(_check_number)]
Text = Annotated[str, Field(max_length=10_000)]
UnitOfMeasure = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,3}$")]
Offset = Annotated[str, Field(pattern=r"^[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)$")]
HexBinary = Annotated[str, Field(pattern=r"^[A-Fa-f0-9]+$", max_length=10_000)]
Action = Literal["OBSERVE", "ADD", "DELETE"]
BusinessStep = Annotated[str, _word(BUSINESS_STEPS)]
Disposition = Annotated[str, _word(DISPOSITIONS)]


class _Closed(BaseModel):
    """An element that takes no extension fields."""

    model_config = ConfigDict(strict=True, extra="forbid")


def _require_declared(name: str, prefixes: frozenset[str] | None) -> None:
    """`name` is an extension field's. `prefixes` are those declared besides the standard ones.

    None means that any may be: the context names a document of somebody else.
    """
    prefix, colon, rest = name.partition(":")
    if not colon or not rest or not prefix:
        raise _breach(f"{name!r} is no field of EPCIS 2.0 here; a field of your own needs a declared prefix")
    if rest.startswith("//") or prefix == "urn":
        if not _URI_SHAPE.fullmatch(name):
            raise _breach(f"the field name {name!r} is no URI")
    elif " " in name or not name.isprintable():
        raise _breach(f"the field name {name!r} holds a character that cannot be seen")
    elif prefixes is not None and prefix not in STANDARD_PREFIXES and prefix not in prefixes:
        raise _breach(f"the prefix of {name!r} is not declared in @context")


def _extension_name(name: str, info: ValidationInfo) -> str:
    _require_declared(name, info.context)
    return name


def _extension_value(value: Any) -> Any:
    """Standard fields have a depth of their own; only what extensions hold can be deep."""
    stack = [(value, 1)] if type(value) in (dict, list) else []
    while stack:
        inner, depth = stack.pop()
        if depth > DEPTH_MAX:
            raise _breach(f"it is nested deeper than {DEPTH_MAX} levels")
        children = inner.values() if type(inner) is dict else inner
        stack += [(child, depth + 1) for child in children if type(child) in (dict, list)]
    return value


class _Open(BaseModel):
    """An element that takes extension fields, each under a declared prefix or a full URI."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[
        Annotated[str, AfterValidator(_extension_name)], Annotated[Any, AfterValidator(_extension_value)]
    ]


class QuantityElement(_Closed):
    """How much of a class of goods; without `uom` a count, without `quantity` unknown (EPCIS 7.3.3.3)."""

    epcClass: Epc
    quantity: Number = ABSENT
    uom: UnitOfMeasure = ABSENT


class PersistentDisposition(_Closed):
    """Dispositions that hold until unset; at least one of the two lists."""

    set: Annotated[list[Disposition], Field(min_length=1)] = ABSENT
    unset: Annotated[list[Disposition], Field(min_length=1)] = ABSENT

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.set is None and self.unset is None:
            raise _breach("it holds neither set nor unset")
        for values in (self.set, self.unset):
            if values is not None and len({*values}) < len(values):
                raise _breach("it names a disposition twice")
        return self


class Place(_Open):
    """A read point or business location."""

    id: Epc


class BusinessTransaction(_Closed):
    """A reference to a business document."""

    type: Annotated[str, _word(TRANSACTION_TYPES)] = ABSENT
    bizTransaction: Epc


class Source(_Closed):
    """Who or where the goods come from."""

    type: Annotated[str, _word(PARTY_TYPES)]
    source: Epc


class Destination(_Closed):
    """Who or where the goods go to."""

    type: Annotated[str, _word(PARTY_TYPES)]
    destination: Epc


class SensorMetadata(_Open):
    """What holds for all reports of one sensor element."""

    time: Time = ABSENT
    startTime: Time = ABSENT
    endTime: Time = ABSENT
    deviceID: Uri = ABSENT
    deviceMetadata: Uri = ABSENT
    rawData: Uri = ABSENT
    dataProcessingMethod: Uri = ABSENT
    bizRules: Uri = ABSENT


class SensorReport(_Open):
    """One observation of one property."""

    type: Annotated[str, _word(MEASUREMENT_TYPES)]
    exception: Annotated[str, _word(ALERT_TYPES)] = ABSENT
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
    component: Annotated[str, _word(COMPONENTS)] = ABSENT
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


class SensorElement(_Open):
    """Sensor data of an event: at least one report."""

    sensorMetadata: SensorMetadata = ABSENT
    sensorReport: Annotated[list[SensorReport], Field(min_length=1, max_length=LIST_LENGTH_MAX)]


class InstanceLotMasterData(_Open):
    """What is true of the very instances or lot that the event brings into being: extension fields only."""


class ErrorDeclaration(_Open):
    """This event, recorded before, is in error (EPCIS 7.4.1.4)."""

    declarationTime: Time
    reason: Annotated[str, _word(ERROR_REASONS)] = ABSENT
    correctiveEventIDs: Annotated[list[Uri], Field(max_length=LIST_LENGTH_MAX)] = ABSENT


def _each_once(values: list[str]) -> list[str]:
    if len({*values}) < len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise _breach(f"{twice!r} stands in it twice")
    return values


EpcList = Annotated[list[Epc], Field(max_length=LIST_LENGTH_MAX)]
EpcSet = Annotated[EpcList, AfterValidator(_each_once)]
QuantityList = Annotated[list[QuantityElement], Field(max_length=LIST_LENGTH_MAX)]
TransactionList = Annotated[list[BusinessTransaction], Field(max_length=LIST_LENGTH_MAX)]


class Event(_Open):
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
            raise _breach("an ObjectEvent needs epcList, quantityList, or sensorElementList with readPoint")
        if self.ilmd is not None and self.action != "ADD":
            raise _breach("ilmd is allowed with action ADD only")
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
            raise _breach("it needs childEPCs or childQuantityList, except with action DELETE")
        if self.action != "OBSERVE" and self.parentID is None:
            raise _breach("parentID is required with action ADD and DELETE")
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
            raise _breach("it needs epcList or quantityList, except with action DELETE")
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
            raise _breach("a TransformationEvent needs inputs or outputs")
        if not (inputs and outputs) and self.transformationID is None:
            raise _breach("without transformationID, a TransformationEvent needs both inputs and outputs")
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
            raise _breach(f"{name!r} is no type of somebody else's; write the bare word of EPCIS 2.0")
        _require_declared(name, info.context)
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


class VocabularyAttribute(_Open):
    """One attribute of a master data element."""

    id: Uri
    attribute: Any = ABSENT


class VocabularyElement(_Open):
    """One thing that master data describes."""

    id: Uri
    attributes: list[VocabularyAttribute] = ABSENT
    children: list[Uri] = ABSENT


class MasterVocabulary(_Open):
    """Master data elements of one kind."""

    type: Uri
    vocabularyElementList: list[VocabularyElement] = ABSENT


class MasterData(BaseModel):
    """Master data that travels in a document's header."""

    model_config = ConfigDict(strict=True, extra="ignore")
    vocabularyList: list[MasterVocabulary] = ABSENT


class Header(_Open):
    """The header of an EPCISDocument."""

    epcisMasterData: MasterData = ABSENT


Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=20)]


class CaptureBody(_Closed):
    """The body of an EPCISDocument; its events are checked one by one, each with its own context."""

    model_config = ConfigDict(strict=True, extra="ignore")
    eventList: list[Any]


class EPCISDocument(_Open):
    """A document to capture (EPCIS 2.0, 9.5)."""

    context: Any = Field(alias="@context")
    type: Literal["EPCISDocument"]
    schemaVersion: Version
    creationDate: Time
    id: Uri = ABSENT
    instanceIdentifier: Text = ABSENT
    sender: Text = ABSENT
    receiver: Text = ABSENT
    epcisHeader: Header = ABSENT
    epcisBody: CaptureBody


class ResultsBody(_Open):
    """What a query found."""

    eventList: list[Any]
    vocabularyList: list[MasterVocabulary] = ABSENT


class QueryResults(_Open):
    """A query's name and results."""

    queryName: Text
    subscriptionID: Text = ABSENT
    resultsBody: ResultsBody


class QueryBody(_Open):
    """The body of an EPCISQueryDocument."""

    queryResults: QueryResults


class EPCISQueryDocument(_Open):
    """The answer of a query, which can be captured elsewhere (EPCIS 2.0, 9.6)."""

    context: Any = Field(alias="@context")
    type: Literal["EPCISQueryDocument"]
    schemaVersion: Version = ABSENT
    creationDate: Time = ABSENT
    id: Uri = ABSENT
    epcisBody: QueryBody


DOCUMENT: TypeAdapter[EPCISDocument | EPCISQueryDocument] = TypeAdapter(
    Annotated[EPCISDocument | EPCISQueryDocument, Field(discriminator="type")]
)

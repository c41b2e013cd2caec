"""What a field of an event may hold: times, URIs, numbers, vocabulary words; and who may add fields of their own.

The building blocks of `ledger/events.py` (EPCIS 2.0, JSON binding). They check; they do not rewrite. Pure.
"""

import re
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from ledger.errors import UnreadableCode
from ledger.gs1 import URI_LENGTH_MAX
from ledger.identifiers import canonical_key
from ledger.vocabulary import (
    BUSINESS_STEPS,
    DISPOSITIONS,
    STANDARD_PREFIXES,
    Vocabulary,
)

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LEAP_SECOND = re.compile(r":60(?=[.Zz+-])")


def breach(reason: object) -> PydanticCustomError:
    return PydanticCustomError("epcis", "{reason}", {"reason": str(reason)})


@lru_cache(maxsize=1 << 14)
def parse_time(text: str) -> datetime:
    """The RFC 3339 time in `text` as UTC, to the microsecond; a leap second counts as the second before.

    `ValueError` if it is no time, or lies outside the years 1 to 9999 in UTC.
    """
    try:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:  # a leap second or a small z, which Python does not take; or no time at all
            at = datetime.fromisoformat(_LEAP_SECOND.sub(":59", text.upper()))
        if at.tzinfo is None:
            raise ValueError("it does not say how far it is from UTC")
        return at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: {error}") from None


def _check_time(text: str) -> str:
    try:
        parse_time(text)
    except ValueError as error:
        raise breach(error) from None
    return text


def _check_epc(uri: str) -> str:
    try:
        canonical_key(uri)
    except UnreadableCode as error:
        raise breach(error) from None
    return uri


def _check_number(number: Any) -> Any:
    if type(number) is int:
        if not -(2**63) <= number < 2**63:
            raise breach("the whole number needs more than 64 bits")
    elif not isinstance(number, Decimal):
        raise breach("it is not a number")
    elif not -30 <= number.adjusted() <= 30:
        raise breach("the number is beyond 10 to the power of 30, or closer to 0 than its reciprocal")
    elif len(str(number)) > NUMBER_LENGTH_MAX:
        raise breach(f"the number has more than {NUMBER_LENGTH_MAX} characters")
    return number


def word(vocabulary: Vocabulary) -> Any:
    @lru_cache(maxsize=4096)
    def check(value: str) -> str:
        try:
            if len(value) > URI_LENGTH_MAX:
                raise ValueError(f"it is longer than {URI_LENGTH_MAX} characters")
            vocabulary.word(value)
        except ValueError as error:
            raise breach(error) from None
        if value not in vocabulary.words and not _URI_SHAPE.fullmatch(value):
            raise breach(f"{value!r} is no URI")
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
NUMBER_LENGTH_MAX = 50
DEPTH_MAX = 60
"""Of what one extension field holds."""
ABSENT: Any = None
"""The default of optional fields. Defaults are not validated, so leaving a field out is allowed and null is not."""

Uri = Annotated[str, Field(pattern=_URI_PATTERN, max_length=URI_LENGTH_MAX)]
Epc = Annotated[Uri, AfterValidator(_check_epc)]
Time = Annotated[str, Field(pattern=_TIME_PATTERN), AfterValidator(_check_time)]
Number = Annotated[Any, AfterValidator(_check_number)]
Text = Annotated[str, Field(max_length=10_000)]
UnitOfMeasure = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,3}$")]
Offset = Annotated[str, Field(pattern=r"^[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)$")]
HexBinary = Annotated[str, Field(pattern=r"^[A-Fa-f0-9]+$", max_length=10_000)]
Action = Literal["OBSERVE", "ADD", "DELETE"]
BusinessStep = Annotated[str, word(BUSINESS_STEPS)]
Disposition = Annotated[str, word(DISPOSITIONS)]


class Closed(BaseModel):
    """An element that takes no extension fields."""

    model_config = ConfigDict(strict=True, extra="forbid")


def require_declared(name: str, prefixes: frozenset[str] | None) -> None:
    """`name` is an extension field's. `prefixes` are those declared besides the standard ones.

    None means that any may be: the context names a document of somebody else.
    """
    prefix, colon, rest = name.partition(":")
    if not colon or not rest or not prefix:
        raise breach(f"{name!r} is no field of EPCIS 2.0 here; a field of your own needs a declared prefix")
    if rest.startswith("//") or prefix == "urn":
        if not _URI_SHAPE.fullmatch(name):
            raise breach(f"the field name {name!r} is no URI")
    elif " " in name or not name.isprintable():
        raise breach(f"the field name {name!r} holds a character that cannot be seen")
    elif prefixes is not None and prefix not in STANDARD_PREFIXES and prefix not in prefixes:
        raise breach(f"the prefix of {name!r} is not declared in @context")


def _extension_name(name: str, info: ValidationInfo) -> str:
    require_declared(name, info.context)
    return name


def _extension_value(value: Any) -> Any:
    """Standard fields have a depth of their own; only what extensions hold can be deep."""
    stack = [(value, 1)] if type(value) in (dict, list) else []
    while stack:
        inner, depth = stack.pop()
        if depth > DEPTH_MAX:
            raise breach(f"it is nested deeper than {DEPTH_MAX} levels")
        children = inner.values() if type(inner) is dict else inner
        stack += [(child, depth + 1) for child in children if type(child) in (dict, list)]
    return value


class Open(BaseModel):
    """An element that takes extension fields, each under a declared prefix or a full URI."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[
        Annotated[str, AfterValidator(_extension_name)], Annotated[Any, AfterValidator(_extension_value)]
    ]


def in_zone(at: datetime, zone: tzinfo) -> datetime:
    """A moment in a city's time; as it is where the calendar ends before that city's does (the last hours of 9999)."""
    try:
        return at.astimezone(zone)
    except OverflowError:
        return at


def moment(text: str) -> datetime:
    """A time as a terminal or person gives it: with its offset, within this century; `ValueError` otherwise."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or not 2000 <= at.year <= 2100:
        raise ValueError("give the time with its offset, such as 2026-11-25T08:00:00+08:00")
    return at

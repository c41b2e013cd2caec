"""How the fields of registers are read from text, and how personal ones are masked. Pure."""

import re
from collections.abc import Callable
from datetime import UTC, date
from decimal import Decimal

from ledger.codes import parse_credit_code, parse_goods_code, parse_identity_number, parse_node, parse_party
from ledger.errors import UnreadableCode
from ledger.fields import moment
from ledger.gs1 import parse_gtin
from ledger.identifiers import canonical_key, uri_of
from ledger.registers.form import MASK, TEXT_MAX, OneOf, Parse, Values

_REST = "[^\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
LOT = re.compile(f"(urn:|https?://){_REST}")
"""How the URI of a lot looks."""
LOCATION = re.compile(f"(414/|[A-Za-z][A-Za-z0-9+.-]*:){_REST}")
"""How the name of a read point looks: a URI, or the canonical key of a GLN."""
_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")

one_of = OneOf
"""Reads a word of a list."""


def text(most: int = TEXT_MAX) -> Parse:
    """A text of at most `most` characters, without control characters. One that was masked for somebody is refused."""

    def parse(given: str, _: date) -> str:
        if len(given) > most or not _TEXT.fullmatch(given):
            raise UnreadableCode("text", given, f"give 1 to {most} characters without control characters")
        if MASK * 2 in given:
            raise UnreadableCode("text", given, f"{MASK * 2} stands for what was masked: give the whole value")
        return given

    return parse


def lot(given: str, today: date) -> str:
    """The URI of a lot, of at most 300 characters, in the one form in which it is asked after."""
    if not LOT.fullmatch(given):
        raise UnreadableCode("lot", given, "give its URI, as urn:suyuan:lot:… or https://…")
    return uri_of(canonical_key(str(text(300)(given, today))))


def day(given: str, _: date) -> str:
    """A date: 2026-11-23, 20261123, 2026/11/23 or 2026年11月23日."""
    match = _DAY.fullmatch(given)
    try:
        return date(*(int(part) for part in (match.groups() if match else ()) if part)).isoformat()
    except (ValueError, TypeError):
        raise UnreadableCode("date", given, "give a day of the calendar as 2026-11-23") from None


_DAY = re.compile("([0-9]{4})(?:([0-9]{2})([0-9]{2})|[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})日?)")


def day_of(given: str) -> date:
    """The day that a text names, in any of the forms of `day`."""
    return date.fromisoformat(day(given, date.min))


def utc_moment(given: str, _: date) -> str:
    """A moment, given with its offset; kept in UTC to the second."""
    try:
        return moment(given).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except ValueError as error:
        raise UnreadableCode("time", given, str(error)) from None


def whole(least: int, most: int) -> Parse:
    """A whole number between two bounds."""

    def parse(given: str, _: date) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", given) or not least <= int(given) <= most:
            raise UnreadableCode("whole number", given, f"give a whole number from {least} to {most}")
        return int(given)

    return parse


def decimal(least: str, most: str) -> Parse:
    """An exact decimal number between two bounds, at most 6 places; kept as its shortest text."""

    def parse(given: str, _: date) -> str:
        number = Decimal(given) if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", given) else None
        if number is None or not Decimal(least) <= number <= Decimal(most):
            raise UnreadableCode("number", given, f"give a decimal number from {least} to {most}, at most 6 places")
        return f"{number.normalize() + 0:f}"

    return parse


def pattern(what: str, form: str, hint: str) -> Parse:
    """A text of one form."""
    compiled = re.compile(form)

    def parse(given: str, _: date) -> str:
        if not compiled.fullmatch(given):
            raise UnreadableCode(what, given, hint)
        return given

    return parse


def code(parse: Callable[[str], str | int]) -> Parse:
    """A code by its own parse function."""
    return lambda given, _: parse(given)


def parse_region(given: str) -> int:
    """A 6-digit region of GB/T 2260: a province that exists, and any county, since these change."""
    if not re.fullmatch(r"[0-9]{6}", given) or int(given) == 0:
        raise UnreadableCode("region code", given, "it has 6 digits, and is no zero")
    return parse_node(f"{given}000") // 1000


def goods(given: str, _: date) -> str:
    """A goods code of GB/T 7635.1, or the species of a live animal: pig, cattle or sheep."""
    return given if given in LIVE_ANIMALS else parse_goods_code(given)


LIVE_ANIMALS = ("pig", "cattle", "sheep")


def credit_code(given: str, _: date) -> str:
    """统一社会信用代码; small letters are taken for capitals."""
    return parse_credit_code(given.upper())


def identity_number(given: str, today: date) -> str:
    """居民身份证号; a small x is taken for the capital."""
    return parse_identity_number(given.upper(), today=today)


def phone(given: str, _: date) -> str:
    """A telephone number: digits, with +, spaces and hyphens left out."""
    digits = re.sub(r"[ \-()（）]", "", given)
    if not re.fullmatch(r"\+?[0-9]{5,20}", digits):
        raise UnreadableCode("telephone number", "…", "give 5 to 20 digits, with + before a country's code")
    return digits


PARTY_CODE, NODE_CODE, REGION_CODE, GTIN = code(parse_party), code(parse_node), code(parse_region), code(parse_gtin)


# --- masks ----------------------------------------------------------------------------------------


def mask_all(_: str, __: Values) -> str:
    """Nothing but that there is a value."""
    return MASK * 4


def mask_middle(first: int, last: int) -> Callable[[str, Values], str]:
    """A number's beginning and end, if enough between them is hidden."""

    def mask(value: str, _: Values) -> str:
        if len(value) < first + last + 4:
            return MASK * 4
        return f"{value[:first]}{MASK * 4}{value[len(value) - last :]}"

    return mask


def mask_name(value: str, _: Values) -> str:
    """A person's name: its first character."""
    return value[:1] + MASK * 2 if len(value) > 1 else MASK * 2


def is_natural(values: Values) -> bool:
    """Whether the party is a natural person, alone or as a sole trader (credit codes of category 92)."""
    credit = values.get("credit_code")
    return not isinstance(credit, str) or credit.startswith("92")


def mask_legal_name(value: str, values: Values) -> str:
    """The names of organisations are public; those of people and sole traders are theirs."""
    return mask_name(value, values) if is_natural(values) else value


def mask_credit_code(value: str, values: Values) -> str:
    """An organisation's code is public."""
    return mask_middle(6, 2)(value, values) if is_natural(values) else value

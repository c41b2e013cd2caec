"""Chinese codes of nodes, parties, slips, drugs, licences and people, each made only by its parse function.

Structures: MOFCOM's meat and vegetable traceability system (SB/T 10680-2012 as deployed), GB 32100-2015 for
unified social credit codes, GB 11643-1999 for identity numbers, NMPAB/T 1002-2019 for drug trace codes.
Codes without a check digit cannot tell a typing error: those parse by structure only, and say so.

Pure: today's date is an argument where a date matters.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NewType

from ledger.errors import UnreadableCode
from ledger.gs1 import Key, check_digit, is_digits, parse_gtin, parse_sscc
from ledger.identifiers import canonical_key, parse_element_string

NodeCode = NewType("NodeCode", int)
"""A circulation node: 9 digits as a number (6 of GB/T 2260 region, 3 of filing serial). No check digit."""
PartyCode = NewType("PartyCode", str)
"""A registered operator: 13 digits, its node and 4 of filing serial; 0000 is the node itself. No check digit."""
DrugCode = NewType("DrugCode", str)
"""A drug trace code: 20 digits, first digit 8. Its last 4 are a secret check that only a remote service knows."""
NationalDrugCode = NewType("NationalDrugCode", str)
"""本位码: 14 digits, 86 9 and 10 of body, and a mod-10 check digit."""
CreditCode = NewType("CreditCode", str)
"""统一社会信用代码: 18 characters with a mod-31 check character (GB 32100-2015)."""
IdentityNumber = NewType("IdentityNumber", str)
"""居民身份证号: 18 characters with an ISO 7064 MOD 11-2 check character (GB 11643-1999)."""
FoodLicence = NewType("FoodLicence", str)
"""Food production licence: SC and 14 digits, the last an ISO 7064 MOD 11,10 check digit."""
EarTag = NewType("EarTag", str)
"""畜禽标识: 15 digits, species, county and 8 of serial. No check digit."""
GoodsCode = NewType("GoodsCode", str)
"""商品编码: 3 to 8 digits of GB/T 7635.1, 012… vegetables, 211… livestock meat. No check digit."""

CITY = NodeCode(0)
"""The city's own chain: what the operator does, and the minute ticks. Region 000000 is nobody's."""
IMPORT = NodeCode(1)
"""The chain of files that the operator captured without naming a node."""


def _digits(kind: str, code: str, *lengths: int) -> str:
    for position, character in enumerate(code):
        if character not in "0123456789":
            raise UnreadableCode(kind, code, f"{character!r} is not a digit", position)
    if len(code) not in lengths:
        allowed = " or ".join(map(str, lengths))
        raise UnreadableCode(kind, code, f"it has {len(code)} digits, not {allowed}")
    return code


_REGION_STARTS = {
    *range(11, 16),
    *range(21, 24),
    *range(31, 38),
    *range(41, 47),
    *range(50, 55),
    *range(61, 66),
    71,
    81,
    82,
}


def _region(kind: str, code: str, start: int = 0) -> None:
    """The first two digits of a GB/T 2260 region are one of the provinces; counties change, provinces do not."""
    if int(code[start : start + 2]) not in _REGION_STARTS:
        raise UnreadableCode(kind, code, f"{code[start : start + 2]} is no province of GB/T 2260", start)


def parse_node(code: str) -> NodeCode:
    """A 9-digit node code: region and filing serial, or one of the ledger's own two chains.

    >>> parse_node("330212333")
    330212333
    """
    _digits("node code", code, 9)
    if int(code) not in (CITY, IMPORT):
        _region("node code", code)
    return NodeCode(int(code))


def node_text(node: int) -> str:
    """The node as it is written: 9 digits."""
    return f"{node:09d}"


def parse_party(code: str) -> PartyCode:
    """A 13-digit party code: node code and 4 digits of filing serial."""
    _digits("party code", code, 13)
    _region("party code", code)
    return PartyCode(code)


class TraceScheme(StrEnum):
    """How a node numbers its slips. The digits cannot tell (3.6 % of A also parse as B): the node says it."""

    OPERATOR_SERIAL = "A"
    NODE_DAY_SERIAL = "B"


@dataclass(frozen=True, slots=True)
class TraceCode:
    """The 20 digits on a slip, read by its node's scheme. `party` is known from A only, `day` from B only."""

    code: str
    node: NodeCode
    scheme: TraceScheme
    serial: int
    party: PartyCode | None = None
    day: date | None = None


def parse_trace_code(code: str, scheme: TraceScheme) -> TraceCode:
    """The slip's trace code by the issuing node's `scheme`; `UnreadableCode` if it does not fit.

    A: 13 of party, 7 of serial. B: 9 of node, 6 of date (yyMMdd, 20yy), 5 of serial.
    """
    kind = f"trace code of scheme {scheme}"
    _digits(kind, code, 20)
    _region(kind, code)
    node = NodeCode(int(code[:9]))
    if scheme is TraceScheme.OPERATOR_SERIAL:
        return TraceCode(code, node, scheme, int(code[13:]), party=PartyCode(code[:13]))
    try:
        day = date(2000 + int(code[9:11]), int(code[11:13]), int(code[13:15]))
    except ValueError:
        raise UnreadableCode(kind, code, f"{code[9:15]} is no date yyMMdd", 9) from None
    return TraceCode(code, node, scheme, int(code[15:]), day=day)


def parse_drug_code(code: str) -> DrugCode:
    """A 20-digit drug trace code beginning with 8. Its package level is not in its digits; it is never guessed."""
    _digits("drug trace code", code, 20)
    if code[0] != "8":
        raise UnreadableCode("drug trace code", code, "it does not begin with 8", 0)
    return DrugCode(code)


def drug_product_part(code: DrugCode) -> str:
    """The 7 digits that name the product and its packaging."""
    return code[:7]


def parse_national_drug_code(code: str) -> NationalDrugCode:
    """本位码: 14 digits beginning 869, with a right mod-10 check digit."""
    kind = "national drug code"
    _digits(kind, code, 14)
    if not code.startswith("869"):
        position = next(i for i, (a, b) in enumerate(zip(code, "869", strict=False)) if a != b)
        raise UnreadableCode(kind, code, "it does not begin with 869", position)
    if code[-1] != check_digit(code[:-1]):
        raise UnreadableCode(kind, code, f"the check digit is {code[-1]}, it should be {check_digit(code[:-1])}", 13)
    return NationalDrugCode(code)


_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_KINDS = "123456789ANY"


def parse_credit_code(code: str) -> CreditCode:
    """An 18-character unified social credit code (GB 32100-2015): charset without I O S V Z, check mod 31.

    >>> parse_credit_code("91350100M000100Y43")
    '91350100M000100Y43'
    """
    kind = "unified social credit code"
    for position, character in enumerate(code):
        if character not in _CREDIT_ALPHABET:
            hint = " (letters are capitals, without I, O, S, V, Z)" if character.isalpha() else ""
            raise UnreadableCode(kind, code, f"{character!r} is not allowed{hint}", position)
    if len(code) != 18:
        raise UnreadableCode(kind, code, f"it has {len(code)} characters, not 18")
    if code[0] not in _CREDIT_KINDS:
        raise UnreadableCode(kind, code, f"{code[0]!r} is no registering authority", 0)
    for position in range(2, 8):
        if not code[position].isdigit():
            raise UnreadableCode(kind, code, "characters 3 to 8 are a region's digits", position)
    total = sum(_CREDIT_ALPHABET.index(c) * 3**i % 31 for i, c in enumerate(code[:17]))
    expected = _CREDIT_ALPHABET[-total % 31]
    if code[17] != expected:
        raise UnreadableCode(kind, code, f"the check character is {code[17]}, it should be {expected}", 17)
    return CreditCode(code)


def parse_identity_number(code: str, *, today: date) -> IdentityNumber:
    """An 18-character identity number (GB 11643-1999): region, a birth date not after `today`, check character.

    The errors never repeat the number: it is personal data, and errors are logged.
    """
    kind, shown = "identity number", "…"
    for position, character in enumerate(code):
        if not is_digits(character) and not (character == "X" and position == 17):
            hint = " (the last may be a capital X)" if position == 17 else ""
            raise UnreadableCode(kind, shown, f"there is something that is not a digit{hint}", position)
    if len(code) != 18:
        raise UnreadableCode(kind, shown, f"it has {len(code)} characters, not 18")
    if int(code[:2]) not in _REGION_STARTS | {83}:  # 83: residence permits of people from Taiwan (2018)
        raise UnreadableCode(kind, shown, "the first two digits are no province", 0)
    try:
        born = date(int(code[6:10]), int(code[10:12]), int(code[12:14]))
    except ValueError:
        raise UnreadableCode(kind, shown, "digits 7 to 14 are no date", 6) from None
    if not date(1850, 1, 1) <= born <= today:
        raise UnreadableCode(kind, shown, "the birth date is not between 1850 and today", 6)
    total = sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(code[:17])) % 11
    if code[17] != "10X98765432"[total]:
        raise UnreadableCode(kind, shown, "the check character is wrong", 17)
    return IdentityNumber(code)


def parse_food_licence(code: str) -> FoodLicence:
    """SC and 14 digits; the last is the ISO 7064 MOD 11,10 check digit of the 13 before."""
    kind = "food production licence"
    if code[:2] != "SC":
        raise UnreadableCode(kind, code, "it does not begin with SC", 0 if code[:1] != "S" else 1)
    for position, character in enumerate(code[2:], 2):
        if not is_digits(character):
            raise UnreadableCode(kind, code, f"{character!r} is not a digit", position)
    if len(code) != 16:
        raise UnreadableCode(kind, code, f"it has {len(code) - 2} digits after SC, not 14")
    product = 10
    for digit in code[2:15]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    expected = str((11 - product) % 10)
    if code[15] != expected:
        raise UnreadableCode(kind, code, f"the check digit is {code[15]}, it should be {expected}", 15)
    return FoodLicence(code)


_SPECIES = {"1": "pig", "2": "cattle", "3": "sheep", "7": "breeding sow"}


def parse_ear_tag(code: str) -> EarTag:
    """A 15-digit ear tag: species (1 pig, 2 cattle, 3 sheep, 7 breeding sow), county, serial."""
    _digits("ear tag", code, 15)
    if code[0] not in _SPECIES:
        raise UnreadableCode("ear tag", code, f"{code[0]} is no species (1, 2, 3 or 7)", 0)
    _region("ear tag", code, 1)
    return EarTag(code)


def parse_goods_code(code: str) -> GoodsCode:
    """3 to 8 digits of the GB/T 7635.1 tree, under 012 (vegetables) or 211 (livestock meat)."""
    _digits("goods code", code, *range(3, 9))
    if code[:3] not in ("012", "211"):
        raise UnreadableCode("goods code", code, "it begins neither with 012 (vegetables) nor with 211 (meat)", 0)
    return GoodsCode(code)


TRACE_URN, DRUG_URN, NODE_URN = "urn:suyuan:trace:", "urn:suyuan:drug:", "urn:suyuan:node:"
PARTY_URN, LOT_URN = "urn:suyuan:party:", "urn:suyuan:lot:"
"""National codes are no URIs, and EPCIS wants URIs: these name them in events. As a read point a party is its place at
its node; a lot is its goods code and 20 digits of batch."""
_UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # PostgreSQL takes neither NUL nor lone surrogates
_PATH = re.compile("(00|01|253|255|414|417|8003|8004|8006|8010|8013|8017|8018)/[0-9A-Za-z]")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")


def key_of_code(text: str) -> Key:
    """The canonical key of what a person typed or scanned: a URI, the path of a Digital Link, an element string, or
    bare digits.

    20 digits are a drug code where they begin with 8 and a slip's trace code otherwise; 18 an SSCC; 8, 12, 13
    and 14 a GTIN. Other texts are `UnreadableCode`.
    """
    text = text.strip()
    if _UNSTORABLE.search(text):
        raise UnreadableCode("code", text, "it holds a character that no code has")
    if text.startswith("("):
        return parse_element_string(text)
    if is_digits(text):
        match len(text):
            case 20:
                return Key(DRUG_URN + parse_drug_code(text)) if text[0] == "8" else Key(TRACE_URN + text)
            case 18:
                return Key(f"00/{parse_sscc(text)}")
            case 8 | 12 | 13 | 14:
                return Key(f"01/{parse_gtin(text)}")
    if _PATH.match(text):
        return canonical_key(f"https://id.gs1.org/{text}")
    if _URI.fullmatch(text):
        return canonical_key(text)
    raise UnreadableCode("code", text, "give a URI, (01)… with lot or serial, a 20-digit code, an SSCC or a GTIN")

"""Invented people and firms: names, identity numbers, credit codes, phones, addresses.

Numbers have right check characters, and lie in the region 3399xx, which GB/T 2260 does not give to anybody; phones
begin 19900. Pure.
"""

from datetime import date, timedelta
from typing import NamedTuple

from scanners.city.dice import Dice

_SURNAMES = "陆沈俞童裘竺屠鲍闻邵柴茅严史毛江冯汪叶戚"
_GIVEN = "禾澜岚棠穗沛霖桐苇舟砚晴朗渝柏川岑汐芷昀"
_PLACE_FIRST = "樟青石云白柳枫竹梅松荷芦桑榆银玉龙凤东西"
_PLACE_SECOND = "木溪桥塘沙湾岭浦埠山泉堰渡田洲坞墩台巷港"
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_BORN_FIRST = date(1958, 1, 1)


def person_name(dice: Dice) -> str:
    """A name of two or three characters."""
    return dice.one(_SURNAMES) + dice.one(_GIVEN) + (dice.one(_GIVEN) if dice.below(3) else "")


def place_name(dice: Dice) -> str:
    """Two characters, as of a village or a bridge."""
    return dice.one(_PLACE_FIRST) + dice.one(_PLACE_SECOND)


def phone(dice: Dice) -> str:
    """19900 and 6 digits."""
    return "19900" + dice.digits(6)


def identity_number(dice: Dice) -> str:
    """居民身份证号 (GB 11643-1999) of a grown person."""
    born = _BORN_FIRST + timedelta(days=dice.below(45 * 365))
    body = f"3399{dice.between(1, 99):02d}{born:%Y%m%d}{dice.between(1, 999):03d}"
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(body)) % 11
    return body + "10X98765432"[total]


def credit_code(dice: Dice, kind: str = "91") -> str:
    """统一社会信用代码 (GB 32100-2015): 91 a company, 92 a trader, 12 an institution, 11 an authority."""
    organisation = "".join(dice.one(_CREDIT_ALPHABET[:18]) for _ in range(8))
    weighed = sum(
        (int(c) if c.isdigit() else ord(c) - 55) * weight
        for c, weight in zip(organisation, _ORGANISATION_WEIGHTS, strict=True)
    )
    body = f"{kind}3399{dice.between(1, 99):02d}{organisation}{'0123456789X'[-weighed % 11]}"
    total = sum(_CREDIT_ALPHABET.index(c) * 3**place % 31 for place, c in enumerate(body))
    return body + _CREDIT_ALPHABET[-total % 31]


def food_licence(dice: Dice, letters: str) -> str:
    """SC or JY and 14 digits, the last an ISO 7064 MOD 11,10 check digit."""
    digits = f"{dice.between(101, 135)}3399{dice.between(1, 99):02d}{dice.digits(4)}"
    product = 10
    for digit in digits:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return f"{letters}{digits}{(11 - product) % 10}"


class Filing(NamedTuple):
    """What a party files of itself besides its kinds; exactly one of the two numbers is there."""

    legal_name: str
    credit_code: str
    identity_number: str
    legal_representative: str
    contact: str
    phone: str
    address: str


def filing(dice: Dice, name: str | None, district: str, credit_kind: str = "91") -> Filing:
    """A firm's filing under `name`, or a person's where there is no name."""
    representative = person_name(dice)
    number = credit_code(dice, credit_kind) if name else identity_number(dice)
    address = f"{district}{place_name(dice)}路{dice.between(1, 299)}号"
    return Filing(
        name or representative, number if name else "", "" if name else number, representative,
        person_name(dice) if name else representative, phone(dice), address,
    )  # fmt: skip

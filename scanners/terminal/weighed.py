"""In-store codes: a shop's own EAN-13s that begin with 2, with its number of the goods and a weight or price in them.

GS1 General Specifications, restricted circulation numbers and variable measure items in a shop: what the digits hold
is the shop's own affair, so its layout and its table of goods are settings. What does not fit them is refused with a
sentence in Chinese and English. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from ledger.errors import UnreadableCode
from ledger.gs1 import check_digit, is_digits, parse_gtin
from ledger.registers.fields import goods as parse_goods

LENGTH = 13
_GRAM, _FEN = Decimal("0.001"), Decimal("0.01")
_PRICE_STEP = Decimal("0.000001")
"""The finest price that the ledger takes."""


class UnfitLabel(ValueError):
    """An in-store code that cannot be used, or says something else than the person: the text is for the counter."""


@dataclass(frozen=True, slots=True)
class Label:
    """What stands in an in-store code: the shop's number of the goods, and kilograms or yuan as its layout has them."""

    number: str
    weight: Decimal | None = None
    total: Decimal | None = None


@dataclass(frozen=True, slots=True)
class InStore:
    """A shop's way to number what it weighs: its layout, empty where it has none, and its numbers' goods codes."""

    layout: str = ""
    plus: Mapping[str, str] = field(default_factory=dict)

    def read(self, digits: str) -> Label:
        """The label whose digits these are; `UnfitLabel` where it cannot be used.

        >>> InStore("2#GGGGGWWWWWC").read("2100123012504")
        Label(number='00123', weight=Decimal('1.250'), total=None)
        """
        if not self.fits(digits):
            raise UnfitLabel(
                f"店内码 {digits[:20]} 不合设置的格式 it does not fit this shop's layout {self.layout}；"
                "请输入 type goods=编码 code and the quantity"
            )
        weight, total = self._part(digits, "W"), self._part(digits, "P")
        if weight is not None and not int(weight):
            raise UnfitLabel("码里的重量是零，请重新称 the weight in the code is 0: weigh it again")
        if weight is None and total is not None and not int(total):
            raise UnfitLabel("码里的金额是零，请重新称 the price in the code is 0: weigh it again")
        return Label(
            self._part(digits, "G") or "", None if weight is None else int(weight) * _GRAM,
            int(total) * _FEN if total is not None and int(total) else None,
        )  # fmt: skip

    def fits(self, digits: str) -> bool:
        """Whether these are 13 digits with their check digit that agree with the layout's fixed ones."""
        whole = is_digits(digits) and len(digits) == LENGTH == len(self.layout)
        return (
            whole
            and digits[-1] == check_digit(digits[:-1])
            and all(wanted == found for wanted, found in zip(self.layout, digits, strict=True) if wanted.isdigit())
        )

    def goods(self, label: Label) -> str:
        """The goods code of the shop's number; `UnfitLabel` where the table has none."""
        if label.number not in self.plus:
            raise UnfitLabel(
                f"店内商品号 {label.number} 不在表里 the shop's number {label.number} is in no table: "
                f"请输入 type goods=编码 code, or set it up with --plu {label.number}=GOODS"
            )
        return self.plus[label.number]

    def _part(self, digits: str, letter: str) -> str | None:
        begin = self.layout.find(letter)
        return None if begin < 0 else digits[begin : self.layout.rfind(letter) + 1]


def unit_price(total: Decimal, quantity: Decimal) -> Decimal:
    """What a kilogram or piece cost, so that the quantity at this price is the total again, to a fen.

    >>> unit_price(Decimal("31.84"), Decimal("1.234")), unit_price(Decimal("12.90"), Decimal("0.5"))
    (Decimal('25.802269'), Decimal('25.80'))
    """
    exact = (total / quantity).quantize(_FEN, ROUND_HALF_UP)
    if exact * quantity == total:
        return exact
    return (total / quantity).quantize(_PRICE_STEP, ROUND_HALF_UP)


def agrees(total: Decimal, quantity: Decimal, price: Decimal) -> bool:
    """Whether a scale may have made this total of quantity and price: scales round to a fen in one way or another."""
    return abs(quantity * price - total) < _FEN


def layout_fault(layout: str) -> str:
    """What is wrong with a layout, for whoever sets it up; "" if nothing is."""
    if len(layout) != LENGTH:
        return f"has {LENGTH} characters, such as 2#GGGGGWWWWWC; {layout[:20]!r} has {len(layout)}"
    if other := re.search("[^0-9#GWPC]", layout):
        return f"is made of digits, # (any digit), G (goods), W (grams), P (fen) and C (check digit), not {other[0]!r}"
    if layout[0] != "2":
        return "begins with 2, as a shop's own codes do"
    if layout.find("C") != LENGTH - 1:
        return "ends with C, the check digit, and has no other"
    for letter in "GWP":
        if not re.fullmatch(f"[^{letter}]*{letter}*[^{letter}]*", layout):
            return f"has its {letter} in one piece"
    if "G" not in layout or not {"W", "P"} & set(layout):
        return "holds the goods number (G) and the weight (W) or the price (P)"
    return ""


def plus_fault(layout: str, plus: Mapping[str, str]) -> str:
    """What is wrong with a shop's table of goods, beside its layout; "" if nothing is."""
    digits = layout.count("G")
    for number, goods in plus.items():
        if not isinstance(goods, str) or not _is_goods(goods):
            return f"{number}={goods!r}: that is no goods code and no GTIN"
        if not digits:
            return f"{number}={goods}: numbers need a layout; give in_store, such as 2#GGGGGWWWWWC"
        if not is_digits(number) or len(number) != digits:
            return f"{number!r} is no number of {digits} digits, as the layout {layout} has it"
    return ""


def _is_goods(text: str) -> bool:
    """A goods code, or a GTIN by its length, as the ledger tells them apart."""
    try:
        if is_digits(text) and len(text) > 8:
            parse_gtin(text)
        else:
            parse_goods(text, date.min)
    except UnreadableCode:
        return False
    return True

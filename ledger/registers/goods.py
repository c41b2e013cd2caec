"""Goods, yields and products: what is traded, what becomes of what, and what a pack is.

Sources: GB/T 7635.1 (goods codes), UN/ECE Recommendation 20 (units), NMPAB/T 1002-2019 (product part of drug codes).
"""

from collections.abc import Iterator
from decimal import Decimal

from ledger.access import Action
from ledger.codes import parse_national_drug_code
from ledger.errors import Breach, UnreadableCode
from ledger.gs1 import is_digits, parse_gtin
from ledger.registers import fields as f
from ledger.registers.form import Field, Find, Register, Values, Word


class GoodsKind(Word):
    """What the rules of access and storage ask after."""

    LIVE_ANIMAL = "live_animal", "活畜"
    MEAT = "meat", "肉类"
    VEGETABLE = "vegetable", "蔬菜"
    OTHER = "other", "其他"


class Unit(Word):
    """Units of measure, by their UN/ECE Recommendation 20 codes, as EPCIS has them."""

    KILOGRAM = "KGM", "千克"
    GRAM = "GRM", "克"
    TONNE = "TNE", "吨"
    LITRE = "LTR", "升"
    MILLILITRE = "MLT", "毫升"
    PIECE = "H87", "件"


_BASE: dict[str, tuple[str, Decimal]] = {
    Unit.GRAM: (Unit.KILOGRAM, Decimal("0.001")), Unit.TONNE: (Unit.KILOGRAM, Decimal(1000)),
    Unit.MILLILITRE: (Unit.LITRE, Decimal("0.001")),
}  # fmt: skip


def in_base_unit(quantity: Decimal, unit: str) -> tuple[Decimal, str]:
    """A quantity in the unit that balances are kept in: kilograms, litres, pieces.

    >>> in_base_unit(Decimal(750), "GRM")
    (Decimal('0.750'), 'KGM')
    """
    base, factor = _BASE.get(unit, (unit, Decimal(1)))
    return quantity * factor, str(base)


class ProductKind(Word):
    """What a product is."""

    FOOD = "food", "食品"
    DRUG = "drug", "药品"
    VACCINE = "vaccine", "疫苗"


def _cool_to_warm(values: Values) -> Iterator[Breach]:
    yield from _in_order(values, "storage_min_c", "storage_max_c")


def _in_order(values: Values, least: str, most: str) -> Iterator[Breach]:
    low, high = values.get(least), values.get(most)
    if isinstance(low, str) and isinstance(high, str) and Decimal(low) > Decimal(high):
        yield Breach(most, f"{high} is less than {least}, which is {low}")


_DEGREES = f.decimal("-100", "100")
_STORAGE = (
    Field("storage_min_c", "最低贮存温度", "coldest it may be kept, in °C", _DEGREES, "2", option="min-c"),
    Field("storage_max_c", "最高贮存温度", "warmest it may be kept, in °C", _DEGREES, "8", option="max-c"),
)

GOODS = Register(
    "goods", "goods", "商品", "goods", ("goods",),
    (
        Field("goods", "商品编码", "3 to 8 digits of GB/T 7635.1, or pig, cattle, sheep", f.goods, "21113011",
              required=True, names=True, find=Find.EXACT, aliases=("goods_code", "meat_code")),
        Field("name", "商品名称", "Chinese name", f.text(100), "猪肉", required=True, find=Find.TEXT,
              aliases=("goods_name", "meat_name")),
        Field("english", "英文名称", "English name", f.text(100), "pork", find=Find.TEXT),
        Field("kind", "商品类别", "kind of goods", f.one_of(GoodsKind), "meat", required=True),
        Field("unit", "计量单位", "unit that it is traded in", f.one_of(Unit), "KGM", required=True),
        Field("tolerance_percent", "平衡允差", "how far sold may exceed bought, in percent", f.decimal("0", "50"), "2",
              option="tolerance"),
        Field("shelf_life_h", "保质小时数", "how long it keeps, in hours", f.whole(1, 1_000_000), "72",
              option="shelf-life"),
        *_STORAGE,
    ),
    Action.ADMINISTER, _cool_to_warm,
)  # fmt: skip

YIELD = Register(
    "yield", "yields", "出品率", "goods_yield", ("source", "goods"),
    (
        Field("source", "原料编码", "goods that it is made of", f.goods, "pig", required=True, names=True,
              find=Find.EXACT, refers="goods"),
        Field("goods", "成品编码", "goods that are made", f.goods, "21113011", required=True, names=True,
              find=Find.EXACT, refers="goods"),
        Field("least", "最低出品率", "least that one unit of the source gives", f.decimal("0", "100000"), "70",
              required=True),
        Field("most", "最高出品率", "most that one unit of the source gives", f.decimal("0", "100000"), "90",
              required=True),
    ),
    Action.ADMINISTER, lambda values: _in_order(values, "least", "most"),
)  # fmt: skip


def _product_code(given: str, _: object) -> str:
    if len(given) == 7:
        if not is_digits(given) or given[0] != "8":
            raise UnreadableCode("product code", given, "the product part of a drug code is 7 digits beginning with 8")
        return given
    return parse_gtin(given)


def _fits_its_kind(values: Values) -> Iterator[Breach]:
    yield from _cool_to_warm(values)
    if values.get("kind") == ProductKind.FOOD:
        for name in ("national_code", "approval", "dosage_form"):
            if values.get(name) is not None:
                yield Breach(name, "food has none; only drugs and vaccines do")
    if len(str(values["product"])) == 7 and values.get("kind") == ProductKind.FOOD:
        yield Breach("product", "7 digits are the product part of a drug code; food has a GTIN")


PRODUCT = Register(
    "product", "products", "产品", "product", ("product",),
    (
        Field("product", "产品标识码", "GTIN, or the first 7 digits of its drug trace codes", _product_code, "8123456",
              required=True, names=True, find=Find.EXACT),
        Field("name", "通用名称", "Chinese name", f.text(200), "阿莫西林胶囊", required=True, find=Find.TEXT),
        Field("english", "英文名称", "English name", f.text(200), "amoxicillin capsules", find=Find.TEXT),
        Field("kind", "产品类别", "kind of product", f.one_of(ProductKind), "drug", required=True),
        Field("goods", "商品编码", "goods code, of food", f.goods, "21113011", refers="goods"),
        Field("gtin", "GTIN", "GTIN of the same pack, where its code is a drug's 7 digits", f.GTIN, "06901234500301",
              find=Find.EXACT),
        Field("national_code", "本位码", "14 digits beginning with 869", f.code(parse_national_drug_code),
              "86900000000003", find=Find.EXACT, option="national-code"),
        Field("approval", "批准文号", "approval number", f.text(50), "国药准字H00000001", find=Find.EXACT),
        Field("dosage_form", "剂型", "dosage form", f.text(50), "胶囊剂", option="dosage-form"),
        Field("specification", "规格", "strength and pack size", f.text(100), "0.25g×24粒"),
        Field("holder", "上市许可持有人", "party code of who answers for it", f.PARTY_CODE, "3302120050000",
              find=Find.EXACT, refers="party"),
        Field("units_per_pack", "最小包装数量", "units in a pack, for split sale", f.whole(1, 1_000_000), "24",
              option="units"),
        Field("unit", "计量单位", "unit that a pack's content is counted in", f.text(20), "粒"),
        *_STORAGE,
    ),
    Action.ADMINISTER, _fits_its_kind,
)  # fmt: skip

"""What the city eats and takes: goods, how much of one gives how much of another, and products.

The goods codes 01211, 01231201, 01231202, 01231016 and 21113011 are seen in the field; the others, all products and
all their numbers are invented. GS1 keys use the prefix 690 1234, which is nobody's here. Pure.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ledger.gs1 import check_digit


def gtin(body: str) -> str:
    """A GTIN-14 from 12 digits."""
    return f"0{body}{check_digit(f'0{body}')}"


def lot_uri(body: str, lot: str) -> str:
    """A lot of goods as a Digital Link."""
    return f"https://id.gs1.org/01/{gtin(body)}/10/{lot}"


class Goods(NamedTuple):
    """A kind of goods. `price` is usual in retail, in 分 a kilogram (a head); `body` is the GTIN's 12 digits."""

    code: str
    name: str
    english: str
    kind: str
    shelf_life_h: int
    storage_c: tuple[int, int]
    body: str
    price: int
    unit: str = "KGM"
    tolerance_percent: int = 2


PIG = Goods("pig", "生猪", "live pig", "live_animal", 72, (-10, 40), "690123450010", 180_000, "H87", 0)
PORK = Goods("21113011", "猪肉", "pork carcass", "meat", 72, (0, 8), "690123450020", 2_800)
CUTS = (
    Goods("21113012", "猪五花肉", "pork belly", "meat", 48, (0, 8), "", 3_600),
    Goods("21113013", "猪里脊肉", "pork loin", "meat", 48, (0, 8), "", 4_200),
    Goods("21113014", "猪排骨", "pork ribs", "meat", 48, (0, 8), "", 4_800),
)
"""They have a GTIN only from the supermarket that packs them."""
VEGETABLES = tuple(
    Goods(code, name, english, "vegetable", hours, (0, 25), f"6901234501{number:02d}", price)
    for number, (code, name, english, hours, price) in enumerate(
        [
            ("01211", "马铃薯", "potato", 720, 360),
            ("01231201", "黄瓜", "cucumber", 96, 560),
            ("01231202", "冬瓜", "wax gourd", 480, 300),
            ("01231016", "菜豆", "French bean", 96, 980),
            ("01221", "大白菜", "Chinese cabbage", 240, 260),
            ("01222", "菠菜", "spinach", 48, 880),
            ("01223", "芹菜", "celery", 96, 640),
            ("01231301", "番茄", "tomato", 120, 720),
            ("01231302", "茄子", "aubergine", 120, 680),
            ("01231303", "辣椒", "pepper", 120, 840),
            ("01241", "萝卜", "radish", 480, 320),
            ("01242", "胡萝卜", "carrot", 480, 420),
        ]
    )
)


class Drug(NamedTuple):
    """A medicine. `code` is the 7 digits of its drug codes, or empty where its packs carry a GTIN and a serial."""

    number: int
    code: str
    name: str
    english: str
    kind: str
    dosage_form: str
    specification: str
    units_per_pack: int
    unit: str
    price: int
    storage_c: tuple[int, int]

    @property
    def body(self) -> str:
        return f"6901234502{self.number:02d}"

    @property
    def national_code(self) -> str:
        """本位码: 869, ten digits, a check digit."""
        digits = f"869{9_900_000_100 + self.number}"
        return digits + check_digit(digits)

    @property
    def approval(self) -> str:
        return f"国药准字{'S' if self.kind == 'vaccine' else 'H'}2099{self.number:04d}"


DRUGS = tuple(
    Drug(number, *row)
    for number, row in enumerate(
        [
            ("8199001", "舒岚宁片", "shulanning tablets", "drug", "片剂", "0.25g", 24, "片", 1_860, (0, 30)),
            ("", "清棠颗粒", "qingtang granules", "drug", "颗粒剂", "10g", 9, "袋", 2_450, (0, 30)),
            ("8199003", "安沛林胶囊", "anpeilin capsules", "drug", "胶囊剂", "0.5g", 20, "粒", 3_280, (0, 25)),
            ("8199004", "禾苗流感疫苗", "hemiao flu vaccine", "vaccine", "注射剂", "0.5ml", 1, "支", 12_800, (2, 8)),
            ("", "润泽滴眼液", "runze eye drops", "drug", "滴眼剂", "5ml", 1, "瓶", 1_590, (0, 25)),
            ("8199006", "康禾胰岛素注射液", "kanghe insulin", "drug", "注射剂", "3ml", 5, "支", 6_400, (2, 8)),
            ("", "平澜缓释片", "pinglan tablets", "drug", "缓释片", "30mg", 14, "片", 2_990, (0, 30)),
            ("8199008", "维穗口服液", "weisui oral solution", "drug", "口服溶液剂", "10ml", 10, "支", 3_650, (0, 25)),
        ]
    )
)  # fmt: skip


def goods_rows() -> Iterator[dict[str, str]]:
    """The rows of goods.csv."""
    for one in (PIG, PORK, *CUTS, *VEGETABLES):
        yield {
            "goods": one.code, "name": one.name, "english": one.english, "kind": one.kind, "unit": one.unit,
            "tolerance_percent": str(one.tolerance_percent), "shelf_life_h": str(one.shelf_life_h),
            "storage_min_c": str(one.storage_c[0]), "storage_max_c": str(one.storage_c[1]),
        }  # fmt: skip


def yield_rows() -> Iterator[dict[str, str]]:
    """The rows of yields.csv: kilograms a head, and kilograms a kilogram."""
    yield {"source": PIG.code, "goods": PORK.code, "least": "70", "most": "90"}
    for cut in CUTS:
        yield {"source": PORK.code, "goods": cut.code, "least": "0.90", "most": "1"}


def cut_body(region: str, supermarket: int, cut: int) -> str:
    """The 12 digits of the GTIN under which a supermarket packs a cut."""
    return f"690{region}{supermarket * len(CUTS) + cut:05d}"


def product_rows(region: str, supermarkets: Iterable[str], plants: list[str]) -> Iterator[dict[str, str]]:
    """The rows of products.csv. `supermarkets` and `plants` are parties, in order."""
    for one in (PIG, PORK, *VEGETABLES):
        yield _food_row(one, one.body, "")
    for number, supermarket in enumerate(supermarkets):
        for cut, one in enumerate(CUTS):
            yield _food_row(one, cut_body(region, number, cut), supermarket)
    for drug in DRUGS:
        yield {
            "product": drug.code or gtin(drug.body), "name": drug.name, "english": drug.english, "kind": drug.kind,
            "goods": "", "gtin": gtin(drug.body), "national_code": drug.national_code, "approval": drug.approval,
            "dosage_form": drug.dosage_form, "specification": drug.specification,
            "holder": plants[drug.number % len(plants)], "units_per_pack": str(drug.units_per_pack), "unit": drug.unit,
            "storage_min_c": str(drug.storage_c[0]), "storage_max_c": str(drug.storage_c[1]),
        }  # fmt: skip


def _food_row(goods: Goods, body: str, holder: str) -> dict[str, str]:
    return {
        "product": gtin(body), "name": goods.name, "english": goods.english, "kind": "food", "goods": goods.code,
        "gtin": gtin(body), "national_code": "", "approval": "", "dosage_form": "", "specification": "",
        "holder": holder, "units_per_pack": "", "unit": goods.unit,
        "storage_min_c": str(goods.storage_c[0]), "storage_max_c": str(goods.storage_c[1]),
    }  # fmt: skip

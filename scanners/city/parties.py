"""Who trades in the city, and under which licences: the rows of parties.csv and licences.csv. Pure."""

from collections.abc import Iterator
from datetime import date, timedelta
from hashlib import sha256

from scanners.city.dice import Dice
from scanners.city.people import Filing, filing, food_licence
from scanners.city.places import KINDS, REGULATOR, SUPPLIERS_FROM, Places

_LICENCES = {
    "farm": ("business_licence", "animal_epidemic_prevention"),
    "slaughterer": ("business_licence", "slaughter", "animal_epidemic_prevention"),
    "market_opener": ("business_licence",),
    "wholesaler": ("business_licence", "food_operation"),
    "retailer": ("business_licence", "food_operation"),
    "supermarket retailer": ("business_licence", "food_operation", "food_production"),
    "canteen": ("business_licence", "food_operation"),
    "manufacturer": ("business_licence", "drug_production"),
    "drug_wholesaler": ("business_licence", "drug_operation"),
    "pharmacy": ("business_licence", "drug_operation"),
    "hospital": ("medical_institution",),
    "regulator": (),
}
_SCOPES = {
    "business_licence": "登记经营范围 as registered", "food_operation": "食用农产品、预包装食品 food",
    "food_production": "分割包装猪肉 cut and packed pork", "slaughter": "生猪屠宰 pigs",
    "animal_epidemic_prevention": "动物防疫条件合格 animals", "drug_production": "片剂、颗粒剂、注射剂 drugs",
    "drug_operation": "中成药、化学药制剂、生物制品 drugs", "medical_institution": "全科 all departments",
}  # fmt: skip
_ISSUERS = {
    "slaughter": "农业农村局 agriculture", "animal_epidemic_prevention": "农业农村局 agriculture",
    "medical_institution": "卫生健康局 health", "drug_production": "药品监督管理局 drugs",
}  # fmt: skip
_LETTERS = {
    "food_operation": "JY", "food_production": "SC",
    "slaughter": "浙屠准字", "animal_epidemic_prevention": "浙动防合字",
    "drug_production": "浙药", "drug_operation": "浙药经", "medical_institution": "浙医",
}  # fmt: skip


class Register:
    """The parties of a city. One row is as quick to make as another, and none is kept."""

    def __init__(self, places: Places, first: date) -> None:
        self._places, self._first = places, first

    def parties(self) -> Iterator[dict[str, str]]:
        """The rows of parties.csv."""
        for party, kinds, name, position, others in self._parties():
            node, filed = party[:9], self._filing(party, kinds, name)
            yield {
                "party": party, "kinds": kinds, "nodes": " ".join([node, *others]), **filed._asdict(),
                "position": position,
            }  # fmt: skip

    def licences(self) -> Iterator[dict[str, str]]:
        """The rows of licences.csv."""
        lapsing = self._lapsing()
        for party, kinds, name, _, _ in self._parties():
            filed = self._filing(party, kinds, name)
            for kind in _LICENCES[kinds]:
                yield self._licence(party, kind, filed, lapsing.get(party) if kind == "food_operation" else None)

    def _lapsing(self) -> dict[str, int]:
        places = self._places
        days = range(-1, places.lapsing - 1)
        return {stall: day for day in days if (stall := places.lapsing_stall(day)) is not None}

    def _parties(self) -> Iterator[tuple[str, str, str | None, str, list[str]]]:
        """Code, kinds, name of the firm or None, position, and the other nodes at which it trades."""
        places = self._places
        for kind in KINDS:
            for number in range(places.counts[kind.name]):
                yield places.party(kind.name, number), kind.party_kinds, places.name(kind, number), "", []
                if kind.name == "market":
                    yield from self._stalls(number)
                elif kind.name == "wholesale_market":
                    yield from self._traders(number)
        regulator = places.party("wholesale_market", 0, REGULATOR)
        yield regulator, "regulator", "市场监督管理局 market regulator", "", []

    def _stalls(self, market: int) -> Iterator[tuple[str, str, str | None, str, list[str]]]:
        for serial in range(1, self._places.stalls_of(market) + 1):
            party = self._places.party("market", market, serial)
            yield party, "retailer", None, f"{'ABCDEFGH'[serial % 8]}-{serial:03d}", []

    def _traders(self, number: int) -> Iterator[tuple[str, str, str | None, str, list[str]]]:
        """Wholesalers, each sixteenth of whom trades at the next wholesale market too, and farms outside."""
        places = self._places
        count = places.counts["wholesale_market"]
        for serial in range(1, places.wholesalers + 1):
            party = places.party("wholesale_market", number, serial)
            name = f"{self._trade_name(party)}食品有限公司"
            others = [places.node("wholesale_market", (number + 1) % count)] if serial % 16 == 3 and count > 1 else []
            yield party, "wholesaler", name, f"W-{serial:03d}", others
        for serial in range(SUPPLIERS_FROM, SUPPLIERS_FROM + places.suppliers):
            party = places.party("wholesale_market", number, serial)
            yield party, "farm", f"{self._trade_name(party)}种植专业合作社", "", []

    def _trade_name(self, party: str) -> str:
        dice = Dice(self._places.seed, "firm", party)
        return dice.one("禾丰润源盛祥泰康瑞嘉") + dice.one("禾丰润源盛祥泰康瑞嘉")

    def _filing(self, party: str, kinds: str, name: str | None) -> Filing:
        places = self._places
        credit_kind = {"regulator": "11", "hospital": "12"}.get(kinds, "91")
        district = places.district_name(places.district(party[:9]))
        return filing(Dice(places.seed, "party", party), name, district, credit_kind)

    def _licence(self, party: str, kind: str, filed: Filing, lapses: int | None) -> dict[str, str]:
        dice = Dice(self._places.seed, "licence", party, kind)
        since = self._first - timedelta(days=dice.between(400, 1_400))
        until = self._first + timedelta(days=self._places.days + dice.between(60, 1_000))
        if lapses is not None:
            until = self._first + timedelta(days=lapses)
        issuer = _ISSUERS.get(kind, "市场监督管理局 market regulation")
        return {
            "party": party, "number": _number(dice, kind, filed), "kind": kind, "scope": _SCOPES[kind],
            "issuer": f"{filed.address[:3]}{issuer}", "valid_from": since.isoformat(), "valid_to": until.isoformat(),
            "scan": sha256(f"{party}/{kind}".encode()).hexdigest() if dice.below(2) else "",
        }  # fmt: skip


def _number(dice: Dice, kind: str, filed: Filing) -> str:
    if kind == "business_licence":
        return filed.credit_code or f"92{dice.digits(8)}{dice.digits(5)}"
    if kind.startswith("food_"):
        return food_licence(dice, _LETTERS[kind])
    return f"{_LETTERS[kind]}3399{dice.digits(6)}"

"""Medicines: packs in cases on a pallet, from the plant over a wholesaler to pharmacies and hospitals. Pure."""

from collections.abc import Callable, Generator
from datetime import timedelta

from ledger.codes import DRUG_URN
from ledger.gs1 import check_digit
from scanners.city.dice import HOUR, MINUTE, hundredths
from scanners.city.goods import DRUGS, gtin
from scanners.city.plants import Due
from scanners.city.story import PARTY_URN, Story, Telling
from scanners.city.temperature import Spell, report
from scanners.city.timeline import WAIT, Moment, Stream

Case = tuple[str, list[str]]
"""A case's SSCC as a link, and its packs."""
PHARMACIES_OPEN, PHARMACIES_CLOSE = 8 * HOUR, 21 * HOUR
SHELF_LIFE_DAYS = 730
_SPREAD = 387_420_489
"""A power of 3, which has an inverse modulo 10 to the 9: different numbers stay different, and look like serials."""


class Medicine(Story):
    """A batch: made in the night, at the wholesaler's in the early morning, sold from eight on."""

    def __init__(self, telling: Telling, number: int, day: int, due: Due | None) -> None:
        super().__init__(telling, number, day, due)
        self.drug = self.dice.one(DRUGS)
        self.plant = self.places.party("drug_plant", self.drug.number % self.places.counts["drug_plant"])
        self.wholesaler = self.places.one("drug_wholesaler", self.dice)
        self.batch = self.lot("B")
        self._serials = 0
        self.direct = due is not None and due.kind.name == "near_expiry"
        self.buyers = self._choose_buyers()
        self.cases = [self._case() for _ in range(len(self.buyers) + (0 if self.direct else 1))]
        self.sales = [len(packs) - self.dice.between(2, 5) for _, packs in self.cases[: len(self.buyers)]]
        self.cold = self.drug.storage_c[1] <= 8
        self.least = 1 + len(self.cases) + sum(3 + sales for sales in self.sales)
        self.least += 0 if self.direct else 5 if self.cold else 4

    def _choose_buyers(self) -> list[str]:
        """Different pharmacies side by side, and a hospital; a planted story's first is a pharmacy."""
        count = self.places.counts["pharmacy"]
        first = self.dice.below(count)
        pharmacies = 1 if self.direct else min(count, self.dice.between(2, 4))
        buyers = [self.places.party("pharmacy", (first + i) % count) for i in range(pharmacies)]
        if not self.direct and self.dice.below(2):
            buyers.append(self.places.one("hospital", self.dice))
        return buyers

    # --- codes ----------------------------------------------------------------------------------------

    def _serial(self) -> int:
        self._serials += 1
        return (self.number * 1_000 + self._serials) * _SPREAD % 10**9

    def _case(self) -> Case:
        return self._sscc(), [self._pack() for _ in range(self.dice.between(14, 24))]

    def _pack(self) -> str:
        serial = self._serial()
        if self.drug.code:
            return f"{DRUG_URN}{self.drug.code}{serial:09d}{self.dice.digits(4)}"
        return f"https://id.gs1.org/01/{gtin(self.drug.body)}/21/{serial:09d}"

    def _sscc(self) -> str:
        body = f"0690{self.places.region}{self._serial():09d}"
        return f"https://id.gs1.org/00/{body}{check_digit(body)}"

    # --- events ---------------------------------------------------------------------------------------

    def stream(self) -> Stream:
        at = self.midnight + self.minutes(0, 50)
        plant = self.plant[:9]
        yield self._commissioned(at)
        for case in self.cases:
            at += self.minutes(1, 3)
            yield self._packing(at, plant, case)
        if self.direct:
            self.telling.timeline.begin(self.to_buyer(0, self.plant, at + self.minutes(20, 60)))
            return
        at = yield from self._by_pallet(at + self.minutes(1, 5))
        for number in range(len(self.buyers)):
            self.telling.timeline.begin(self.to_buyer(number, self.wholesaler, at + self.minutes(15, 60)))
        if self.due is not None:
            self.telling.timeline.begin(MISHAPS[self.due.kind.name](self, at))

    def _commissioned(self, at: int) -> Moment:
        left = {None: SHELF_LIFE_DAYS, True: 20, False: 40}[self.plants("near_expiry")]
        expires = self.telling.calendar.day(at) + timedelta(days=left)
        fields = {
            "epcList": [pack for _, packs in self.cases for pack in packs],
            "ilmd": {"cbvmda:lotNumber": self.batch, "cbvmda:itemExpirationDate": expires.isoformat()},
        }
        return self.event(at, self.plant[:9], "commissioning", "active", fields, "ADD")

    def _packing(self, at: int, node: str, case: Case, *, out: bool = False) -> Moment:
        """Into the case or off the pallet, or out of it."""
        step, action = ("unpacking", "DELETE") if out else ("packing", "ADD")
        fields = {"parentID": case[0], "childEPCs": case[1]}
        moment = self.event(at, node, step, "in_progress", fields, action)
        moment[1]["type"] = "AggregationEvent"
        return moment

    def _by_pallet(self, at: int) -> Generator[Moment, None, int]:
        """All cases on one pallet to the wholesaler, who takes it apart; when that was."""
        pallet = (self._sscc(), [case for case, _ in self.cases])
        yield self._packing(at, self.plant[:9], pallet)
        trade = self.trade({"epcList": [pallet[0]]}, self.plant, self.wholesaler, self.drug.price * 72 // 100)
        leave = at + self.minutes(10, 40)
        arrive = leave + self.minutes(60, 120)
        yield self.shipped(leave, trade)
        if self.cold:
            spell = Spell(leave, arrive - MINUTE, self.dice.between(24, 40), self.dice.between(45, 68))
            yield report(self, arrive - MINUTE, self.wholesaler[:9], [spell], trade.fields)
        yield self.received(arrive, trade)
        at = arrive + self.minutes(5, 20)
        yield self._packing(at, self.wholesaler[:9], pallet, out=True)
        return at

    def to_buyer(self, number: int, seller: str, leave: int) -> Stream:
        """A case to a pharmacy or hospital, and its packs one by one over the counter."""
        buyer, case = self.buyers[number], self.cases[number]
        trade = self.trade({"epcList": [case[0]]}, seller, buyer, self.drug.price * 85 // 100)
        yield self.shipped(leave, trade)
        arrive = max(leave + self.minutes(30, 90), self.midnight + 6 * HOUR)
        receipt = self.received(arrive, trade)
        yield receipt
        if self.direct:
            self.planted([receipt[1]], buyer[:9], case[1][0])
        at = max(arrive + self.minutes(5, 30), self.midnight + 7 * HOUR)
        yield self._packing(at, buyer[:9], case, out=True)
        at, end = max(at + 5 * MINUTE, self.midnight + PHARMACIES_OPEN), self.midnight + PHARMACIES_CLOSE
        price = self.drug.price * self.dice.between(98, 102) // 100
        for more in range(self.sales[number], 0, -1):
            at += self.dice.below(2 * (end - at) // (more + 1))
            yield at, WAIT
            yield self.dispensed(at, buyer, case[1][more - 1], price)

    def dispensed(self, at: int, seller: str, pack: str, price: int) -> Moment:
        """One pack is sold."""
        source = [{"type": "owning_party", "source": PARTY_URN + seller}]
        fields = {"epcList": [pack], "sourceList": source, "suyuan:price": hundredths(price)}
        return self.event(at, seller[:9], "dispensing", "dispensed", fields)

    def unsold(self) -> str:
        """A pack that the first pharmacy has and does not sell."""
        return self.cases[0][1][-1]

    def elsewhere(self) -> str:
        """A pharmacy in another district than the first buyer's."""
        district = self.places.district(self.buyers[0][:9])
        count = self.places.counts["pharmacy"]
        first = self.dice.below(count)
        others = (self.places.party("pharmacy", (first + i) % count) for i in range(count))
        return next(other for other in others if self.places.district(other[:9]) != district)


def _drug_code_twice(story: Medicine, _: int) -> Stream:
    """Sold at two pharmacies, or sold, returned and sold again."""
    pack, seller, price = story.unsold(), story.buyers[0], story.drug.price
    at = story.midnight + PHARMACIES_OPEN + story.minutes(60, 120)
    first = story.dispensed(at, seller, pack, price)
    yield first
    if story.plants("drug_code_twice"):
        second = story.dispensed(at + 7 * HOUR, story.buyers[1], pack, price)
        yield second
        story.planted([first[1], second[1]], story.buyers[1][:9], pack)
        return
    back = story.event(at + HOUR, seller[:9], "receiving", "returned", {"epcList": [pack]})
    yield back
    second = story.dispensed(at + 3 * HOUR, seller, pack, price)
    yield second
    story.planted([first[1], back[1], second[1]], seller[:9], pack)


def _impossible_travel(story: Medicine, _: int) -> Stream:
    """A pack is counted in two pharmacies, 5 minutes apart, or 6 hours with a transfer between."""
    pack, here, there = story.unsold(), story.buyers[0], story.elsewhere()
    at = story.midnight + PHARMACIES_OPEN + story.minutes(60, 120)
    near_miss = not story.plants("impossible_travel")
    first = _counted(story, at, here, pack)
    yield first
    if near_miss:
        trade = story.trade({"epcList": [pack]}, here, there, story.drug.price)
        yield story.shipped(at + 2 * MINUTE, trade)
        yield story.received(at + 6 * HOUR - 5 * MINUTE, trade)
    second = _counted(story, at + (6 * HOUR if near_miss else 5 * MINUTE), there, pack)
    yield second
    story.planted([first[1], second[1]], there[:9], pack)


def _counted(story: Medicine, at: int, pharmacy: str, pack: str) -> Moment:
    return story.event(at, pharmacy[:9], "stock_taking", "sellable_accessible", {"epcList": [pack]})


MISHAPS: dict[str, Callable[[Medicine, int], Stream]] = {
    "drug_code_twice": _drug_code_twice,
    "impossible_travel": _impossible_travel,
}

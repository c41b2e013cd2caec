"""Pork and vegetables, from the farm to the wholesale market. Pure."""

from abc import abstractmethod
from collections.abc import Generator

from scanners.city.dice import MINUTE, hundredths
from scanners.city.goods import PIG, PORK, VEGETABLES, lot_uri
from scanners.city.market import FoodStory
from scanners.city.mishaps import MISHAPS
from scanners.city.places import SUPPLIERS_FROM
from scanners.city.plants import Due
from scanners.city.story import PARTY_URN, Stock, Telling, amount
from scanners.city.temperature import Spell, report
from scanners.city.timeline import Json, Moment, Stream

Arrival = Generator[Moment, None, tuple[Stock, int] | None]
"""A stream that ends with what arrived at the wholesale market and when, or with nothing."""


class Food(FoodStory):
    """Food that comes to the wholesale market and is sold from there."""

    def stream(self) -> Stream:
        arrived = yield from self.arriving()
        if arrived is None:
            return
        stock, at = arrived
        self.sold_on(stock, at)
        if self.due is not None and (tell := MISHAPS.get(self.due.kind.name)):
            self.telling.timeline.begin(tell(self, stock, at))

    @abstractmethod
    def arriving(self) -> Arrival:
        """From the farm to the wholesale market."""


class Pork(Food):
    """Pigs come in the night, pass quarantine, and are pork before the morning."""

    def __init__(self, telling: Telling, number: int, day: int, due: Due | None) -> None:
        super().__init__(telling, number, day, due, PORK)
        self.heads = self.need // 7_000 + self.dice.between(1, 2)
        self.farm = self.places.one("farm", self.dice)
        self.slaughterer = self.maker = self.places.one("slaughterhouse", self.dice)
        self.least = 5 if self.plants("quarantine_failed") else self.least + 9

    def arriving(self) -> Arrival:
        at = self.midnight + self.minutes(0, 40)
        pigs = Stock(lot_uri(PIG.body, self.lot("F")), self.farm, PIG, self.heads * 100)
        herd = amount(pigs.lot, pigs.left, "H87")
        yield self.event(at, self.farm[:9], "commissioning", "active", herd, "ADD")
        trade = self.trade(herd, self.farm, self.slaughterer, PIG.price * self.dice.between(95, 105) // 100)
        at += self.minutes(5, 15)
        yield self.shipped(at, trade)
        at += self.minutes(20, 50)
        paper = self.paper("animal", self.certificate("animal"), at, self.heads * 100, unit="H87")
        yield self.received(at, trade, [paper])
        pigs.holder = self.slaughterer
        at = yield from self._quarantine(pigs, at + self.minutes(5, 15))
        if not pigs.left:
            return None
        pork = Stock(lot_uri(PORK.body, self.lot("P")), self.slaughterer, PORK)
        pork.left = self.heads * self.dice.between(7_100, 8_900)
        product, inspection = self.certificate("product"), self.certificate("inspection")
        fields = {
            "inputQuantityList": amount(pigs.lot, pigs.take(pigs.left), "H87")["quantityList"],
            "outputQuantityList": amount(pork.lot, pork.left)["quantityList"],
            "certificationInfo": [product, inspection],
        }  # fmt: skip
        at += self.minutes(10, 30)
        yield self.transformed(at, self.slaughterer[:9], "killing", "active", fields)
        return (yield from self._transport(pork, at + self.minutes(10, 25), product, inspection))

    def _quarantine(self, pigs: Stock, at: int) -> Generator[Moment, None, int]:
        """The look at the pigs; what fails for good is destroyed. When the last look was."""
        node, herd = self.slaughterer[:9], amount(pigs.lot, pigs.left, "H87")
        anomaly = self.plants("quarantine_failed")
        first = self.event(at, node, "inspecting", "conformant" if anomaly is None else "non_conformant", herd)
        yield first
        if anomaly:
            self.planted([first[1]], node, pigs.lot)
            yield self.removed(at + self.minutes(20, 60), pigs, pigs.left, destroyed=True)
        elif anomaly is False:
            at += self.minutes(20, 30)
            second = self.event(at, node, "inspecting", "conformant", herd)
            yield second
            self.planted([first[1], second[1]], node, pigs.lot)
        return at

    def _transport(self, pork: Stock, leave: int, *certificates: str) -> Arrival:
        """All of it goes to one wholesaler, under the papers of the slaughterhouse, with the lorry's thermometer."""
        trade = self.trade(
            amount(pork.lot, pork.left),
            self.slaughterer,
            self.wholesaler,
            PORK.price * self.dice.between(70, 76) // 100,
        )
        yield self.shipped(leave, trade)
        warm = {None: 0, True: 45, False: 10}[self.plants("temperature_excursion")]
        arrive = leave + (65 * MINUTE if warm else self.minutes(30, 60))
        measured = self._measured(trade.fields, leave, arrive, warm)
        yield measured
        if warm:
            self.planted([measured[1]], self.wholesaler[:9], pork.lot)
        papers = [
            self.paper(kind, number, arrive, pork.left, days=7)
            for kind, number in zip(("product", "inspection"), certificates, strict=True)
        ]
        yield self.received(arrive, trade, papers)
        pork.holder = self.wholesaler
        test = arrive + self.minutes(2, 8)
        yield self.event(test, self.wholesaler[:9], "inspecting", "conformant", amount(pork.lot, pork.left))
        return pork, test

    def _measured(self, goods: Json, leave: int, arrive: int, warm: int) -> Moment:
        """The thermometer's report on arrival: 12 C for `warm` minutes."""
        cool = (self.dice.between(8, 20), self.dice.between(25, 42))
        spells = [Spell(leave, arrive - MINUTE, *cool)]
        if warm:
            begin = leave + 8 * MINUTE
            end = begin + warm * MINUTE
            spells = [Spell(leave, begin, *cool), Spell(begin, end, 90, 120), Spell(end, arrive - MINUTE, *cool)]
        return report(self, arrive - MINUTE, self.wholesaler[:9], spells, goods)


class Greens(Food):
    """Vegetables of a farm of the city, or of one outside, tested where they come in."""

    def __init__(
        self, telling: Telling, number: int, day: int, due: Due | None, origin: tuple[int, int] | None = None
    ) -> None:
        super().__init__(telling, number, day, due, VEGETABLES[0])
        self.goods, self.farm = self.dice.one(VEGETABLES), self.places.one("farm", self.dice)
        if origin is not None:
            self.goods, self.farm = VEGETABLES[origin[0]], self.places.party("farm", origin[1])
        self.outside = self.plants_paper() or (self.dice.below(2) == 0 and self.plants("residue_failed") is None)
        self.maker = self.wholesaler if self.outside else self.farm
        self.weight = self.need + self.dice.between(2_000, 15_000)
        self.least += 2 if self.outside else 4
        if self.plants("residue_failed"):
            self.least = 5

    def plants_paper(self) -> bool:
        return self.due is not None and self.due.kind.name.startswith("certificate_")

    def arriving(self) -> Arrival:
        stock = Stock(lot_uri(self.goods.body, self.lot("V")), self.wholesaler, self.goods, self.weight)
        if self.plants_paper() and self.due is not None:
            at = yield from PAPERS[self.due.kind.name](self, stock)
        elif self.outside:
            at = self.midnight + self.minutes(40, 110)
            paper = self.paper("promise", self.certificate("promise"), at, stock.left)
            yield self.entered(at, stock, paper)
        else:
            at = yield from self.grown(stock, self.midnight + self.minutes(0, 60))
        at += self.minutes(8, 25)
        if not (yield from self.tested(stock, at)):
            return None
        return stock, at

    def grown(self, stock: Stock, at: int) -> Generator[Moment, None, int]:
        """Harvested at a farm of the city and brought in; when it was received."""
        goods = amount(stock.lot, stock.left)
        yield self.event(at, self.farm[:9], "commissioning", "active", goods, "ADD")
        trade = self.trade(goods, self.farm, stock.holder, self.goods.price * self.dice.between(66, 74) // 100)
        at += self.minutes(4, 12)
        yield self.shipped(at, trade)
        at += self.minutes(20, 50)
        paper = self.paper("promise", self.certificate("promise"), at, stock.left)
        yield self.received(at, trade, [paper])
        return at

    def entered(self, at: int, stock: Stock, paper: Json) -> Moment:
        """Entry of goods from a farm outside the city, under a certificate."""
        market = self.wholesaler[:9]
        supplier = f"{market}{SUPPLIERS_FROM + self.number % self.places.suppliers:04d}"
        fields = {
            **amount(stock.lot, stock.left), "sourceList": [{"type": "owning_party", "source": PARTY_URN + supplier}],
            "suyuan:price": hundredths(self.goods.price * self.dice.between(66, 74) // 100), **self.under([paper]),
        }  # fmt: skip
        return self.event(at, stock.holder[:9], "receiving", "in_progress", fields, "ADD")

    def tested(self, stock: Stock, at: int) -> Generator[Moment, None, bool]:
        """The residue test. What fails is destroyed."""
        anomaly = self.plants("residue_failed")
        inhibition = {None: self.dice.between(10, 440) * 10, True: self.dice.between(500, 860) * 10, False: 4_990}[
            anomaly
        ]
        tested = residue_test(self, at, stock, inhibition)
        yield tested
        if anomaly is not None:
            self.planted([tested[1]], stock.holder[:9], stock.lot)
        if anomaly:
            yield self.removed(at + self.minutes(20, 60), stock, stock.left, destroyed=True)
        return not anomaly


def residue_test(story: FoodStory, at: int, stock: Stock, inhibition: int) -> Moment:
    """The rapid test's event; `inhibition` in hundredths of a per cent."""
    sensor = {"sensorReport": [{"type": "Dimensionless", "value": hundredths(inhibition), "uom": "P1"}]}
    result = "non_conformant" if inhibition >= 5_000 else "conformant"
    fields = {**amount(stock.lot, stock.left), "sensorElementList": [sensor]}
    return story.event(at, stock.holder[:9], "inspecting", result, fields)


class Cluster(Greens):
    """Three lots of one farm fail on one day, or two as a near-miss; each failure is a plant of its own beside."""

    def __init__(
        self, telling: Telling, number: int, day: int, due: Due | None, origin: tuple[int, int] | None
    ) -> None:
        super().__init__(telling, number, day, due, origin)
        self.lots = 3 if self.plants("failure_cluster") else 2
        self.least = 5 * self.lots

    def stream(self) -> Stream:
        failed: list[Json] = []
        at = self.midnight + self.minutes(0, 30)
        node = self.wholesaler[:9]
        for _ in range(self.lots):
            stock = Stock(lot_uri(self.goods.body, self.lot("V")), self.wholesaler, self.goods, self.weight)
            at = yield from self.grown(stock, at)
            at += self.minutes(8, 25)
            tested = residue_test(self, at, stock, self.dice.between(500, 860) * 10)
            yield tested
            failed.append(tested[1])
            self.planted([tested[1]], node, stock.lot, "residue_failed")
            if len(failed) == self.lots:
                self.planted(failed, node, stock.lot)
            at += self.minutes(10, 30)
            yield self.removed(at, stock, stock.left, destroyed=True)


def _expired(story: Greens, stock: Stock) -> Generator[Moment, None, int]:
    at = story.midnight + story.minutes(40, 110)
    days = -1 if story.plants("certificate_expired") else 0
    paper = story.paper("promise", story.certificate("promise"), at, stock.left, days=days)
    entry = story.entered(at, stock, paper)
    yield entry
    story.planted([entry[1]], stock.holder[:9], paper["number"])
    return at


def _reused(story: Greens, stock: Stock) -> Generator[Moment, None, int]:
    """A second lot under the number: at a supermarket, or at the same market."""
    elsewhere = story.plants("certificate_reused")
    holder = story.places.party("supermarket", story.supermarket) if elsewhere else stock.holder
    second = Stock(lot_uri(story.goods.body, story.lot("V")), holder, story.goods, 4_000)
    return (yield from _two_entries(story, stock, second, stock.left + second.left + 1_000))


def _overused(story: Greens, stock: Stock) -> Generator[Moment, None, int]:
    second = Stock(lot_uri(story.goods.body, story.lot("V")), stock.holder, story.goods, 6_000)
    over = 2_000 if story.plants("certificate_overused") else 0
    return (yield from _two_entries(story, stock, second, stock.left + second.left - over))


def _two_entries(story: Greens, stock: Stock, second: Stock, quantity: int) -> Generator[Moment, None, int]:
    at = story.midnight + story.minutes(40, 70)
    paper = story.paper("promise", story.certificate("promise"), at, quantity)
    one = story.entered(at, stock, paper)
    yield one
    at += story.minutes(10, 30)
    two = story.entered(at, second, paper)
    yield two
    story.planted([one[1], two[1]], second.holder[:9], paper["number"])
    return at


PAPERS = {"certificate_expired": _expired, "certificate_reused": _reused, "certificate_overused": _overused}

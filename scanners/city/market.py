"""From the wholesale market to stalls, supermarkets and canteens, and over the counter. Pure."""

from collections.abc import Generator

from scanners.city.dice import HOUR
from scanners.city.goods import CUTS, Goods, cut_body, lot_uri
from scanners.city.plants import Due
from scanners.city.story import MARKETS_CLOSE, MARKETS_OPEN, WHOLESALE_OPENS, Stock, Story, Telling, amount
from scanners.city.timeline import WAIT, Moment, Stream

SALE_LEAST, SALE_MOST = 40, 160
"""What a customer buys, in 10 g."""
RESERVE = 20_000
"""What a planted stall may get, in 10 g."""
SUPERMARKETS_OPEN, SUPERMARKETS_CLOSE = 8 * HOUR, 21 * HOUR
_ALONE = ("recall", "expired", "cluster")
"""Plants whose story has no ordinary buyers beside them."""


class FoodStory(Story):
    """A lot of food with its buyers: the plan is drawn first, so that the number of events is known."""

    maker: str
    """The party that made the lot, or that sold it first in the city."""

    def __init__(self, telling: Telling, number: int, day: int, due: Due | None, goods: Goods) -> None:
        super().__init__(telling, number, day, due)
        self.goods = goods
        self.wholesaler = self._wholesaler()
        self.chosen = self._choose_stalls()
        self.supermarket = self.dice.below(self.places.counts["supermarket"])
        self.canteen = self.places.one("canteen", self.dice)
        alone = due is not None and due.kind.story in _ALONE
        self.stalls = [] if alone else [(stall, self.dice.between(18, 44)) for stall in self.chosen]
        self.packs = 0 if alone or self.dice.below(3) == 0 else self.dice.between(12, 30)
        self.meals = 0 if alone or self.dice.below(3) == 0 else self.dice.between(3_000, 9_000)
        self.least = sum(2 + sales for _, sales in self.stalls) + (2 + self.packs if self.packs else 0)
        self.least += 4 if self.meals else 0
        self.need = sum(sales for _, sales in self.stalls) * 125 + self.packs * 130 + self.meals
        self.need += 3_000 if due is None else RESERVE

    def _wholesaler(self) -> str:
        market = self.dice.below(self.places.counts["wholesale_market"])
        return self.places.party("wholesale_market", market, self.dice.between(1, self.places.wholesalers))

    def _choose_stalls(self) -> list[str]:
        """Stalls of different markets. The first of them is the planted one, where the story has such a plant."""
        markets = self.places.counts["market"]
        first = self.dice.below(markets)
        self.planted_stall = self._stall(first)
        extra = int(self.due is not None and self.due.kind.story in ("stall", "recall"))
        if (anomaly := self.plants("unlicensed_party")) is not None:
            day = self.day - 1 if anomaly else self.day
            lapsing = self.places.lapsing_stall(day)
            if lapsing is None:
                raise ValueError(f"no stall's licence ends on day {day}: the plan is wrong")
            self.planted_stall, first = lapsing, (day + 1) % markets
        count = min(markets - extra, self.dice.between(2, 4))
        return [self._stall((first + extra + i) % markets) for i in range(count)]

    def _stall(self, market: int) -> str:
        return self.places.party("market", market, self.dice.between(1, self.places.trading))

    # --- prices ---------------------------------------------------------------------------------------

    def retail_price(self, goods: Goods | None = None) -> int:
        """In 分 a kilogram, within 8 % of the usual."""
        return (goods or self.goods).price * self.dice.between(92, 108) // 100

    def wholesale_price(self) -> int:
        return self.goods.price * self.dice.between(81, 89) // 100

    # --- buyers ---------------------------------------------------------------------------------------

    def sold_on(self, stock: Stock, at: int) -> None:
        """All buyers of the plan take their part, from `at` or the opening of the wholesale market on."""
        opens = max(at, self.midnight + WHOLESALE_OPENS)
        begin = self.telling.timeline.begin
        for stall, sales in self.stalls:
            begin(self.to_stall(stock, stall, sales, opens + self.minutes(10, 45)))
        if self.packs:
            begin(self.to_supermarket(stock, opens + self.minutes(10, 45)))
        if self.meals:
            begin(self.to_canteen(stock, opens + self.minutes(10, 45)))

    def arrival(self, leave: int) -> int:
        """When goods that leave the wholesale market arrive: not before markets open."""
        return max(leave + self.minutes(25, 50), self.midnight + MARKETS_OPEN + self.minutes(0, 20))

    def brought(self, stock: Stock, buyer: str, weight: int, leave: int, arrive: int) -> Stream:
        """A part of the lot is shipped and received."""
        yield leave, WAIT
        goods = amount(stock.lot, stock.take(weight))
        trade = self.trade(goods, stock.holder, buyer, self.wholesale_price())
        yield self.shipped(leave, trade)
        yield self.received(arrive, trade)

    def to_stall(self, stock: Stock, stall: str, count: int, leave: int) -> Stream:
        """A stall's part, its sales, and what drips away of it."""
        share = count * self.dice.between(110, 125)
        arrive = self.arrival(leave)
        yield from self.brought(stock, stall, share, leave, arrive)
        own = Stock(stock.lot, stall, self.goods, share)
        close = self.midnight + MARKETS_CLOSE
        yield from self.sales(own, arrive + self.minutes(30, 90), close, count, self.retail_price())
        drip = share // 100
        if own.left >= drip and self.goods.kind == "meat" and self.dice.below(2):
            yield self.removed(close + self.minutes(1, 30), own, drip)

    def sales(self, stock: Stock, at: int, end: int, count: int, price: int) -> Stream:
        """So many sales until `end`, none of more than is left."""
        below = self.dice.below
        for more in range(count, 0, -1):
            yield at, WAIT
            weight = min(SALE_LEAST + below(SALE_MOST - SALE_LEAST + 1), stock.left - SALE_LEAST * (more - 1))
            yield self.sale(at, stock, weight, price)
            at += below(2 * (end - at) // more) if more > 1 else 0

    def to_canteen(self, stock: Stock, leave: int) -> Stream:
        """A canteen's part, eaten at two meals."""
        arrive = self.arrival(leave)
        yield from self.brought(stock, self.canteen, self.meals, leave, arrive)
        own = Stock(stock.lot, self.canteen, self.goods, self.meals)
        for hour in (10, 16):
            at = self.midnight + hour * HOUR + self.minutes(0, 60)
            yield at, WAIT
            yield self.removed(at, own, own.left // 2 if hour == 10 else own.left)

    def to_supermarket(self, stock: Stock, leave: int) -> Stream:
        """A supermarket's part: meat is cut and packed under a GTIN of its own, vegetables are sold as they are."""
        party = self.places.party("supermarket", self.supermarket)
        share = self.packs * 128
        arrive = self.arrival(leave)
        yield from self.brought(stock, party, share, leave, arrive)
        own = Stock(stock.lot, party, self.goods, share)
        if self.goods.kind == "meat":
            own = yield from self.cut(own, arrive + self.minutes(20, 60), sell_by_days=2)
        opens = max(self.midnight + SUPERMARKETS_OPEN, arrive + self.minutes(70, 90))
        end = self.midnight + SUPERMARKETS_CLOSE
        yield from self.sales(own, opens + self.minutes(0, 40), end, self.packs, self.retail_price(own.goods))

    def cut(self, stock: Stock, at: int, sell_by_days: int) -> Generator[Moment, None, Stock]:
        """The lot of packs that the supermarket makes of all that it has."""
        cut = self.dice.below(len(CUTS))
        lot = self.lot("K")
        packs = Stock(lot_uri(cut_body(self.places.region, self.supermarket, cut), lot), stock.holder, CUTS[cut])
        packs.left = stock.left * self.dice.between(92, 99) // 100
        fields = {
            "inputQuantityList": amount(stock.lot, stock.take(stock.left))["quantityList"],
            "outputQuantityList": amount(packs.lot, packs.left)["quantityList"],
            "ilmd": {
                "cbvmda:lotNumber": lot,
                "cbvmda:sellByDate": self.telling.calendar.day(at, sell_by_days).isoformat(),
            },
        }  # fmt: skip
        yield self.transformed(at, stock.holder[:9], "commissioning", "active", fields)
        return packs

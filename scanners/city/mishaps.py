"""Anomalies and near-misses between the wholesale market and the customer, each beside a story's ordinary buyers.

Each function tells one kind: as an anomaly where the story's plant is one, else as its near-miss. `stock` is what the
wholesaler holds of the story's lot since `at`. Whatever goes wrong is the planted stall's alone, which is the only one
of its market to have of the lot. Pure.
"""

from collections.abc import Callable, Generator

from scanners.city.dice import DAY, HOUR, MINUTE, hundredths
from scanners.city.goods import lot_uri
from scanners.city.market import SUPERMARKETS_CLOSE, SUPERMARKETS_OPEN, FoodStory
from scanners.city.story import MARKETS_CLOSE, MARKETS_OPEN, PARTY_URN, WHOLESALE_OPENS, Stock, Trade, amount
from scanners.city.timeline import Json, Moment, Stream

Bought = Generator[Moment, None, tuple[Stock, Json]]
"""A stream that ends with what the stall has, and the event of its receipt."""
FEW = 8
"""So many ordinary sales surround a plant."""


def _leave(story: FoodStory, at: int) -> int:
    return max(at, story.midnight + WHOLESALE_OPENS) + story.minutes(10, 30)


def _bought(story: FoodStory, stock: Stock, at: int, weight: int) -> Bought:
    """The planted stall gets its part in the ordinary way."""
    leave = _leave(story, at)
    receipt: Json = {}
    arrive = max(leave + 25 * MINUTE, story.midnight + MARKETS_OPEN + story.minutes(0, 10))
    for moment in story.brought(stock, story.planted_stall, weight, leave, arrive):
        yield moment
        receipt = moment[1]
    return Stock(stock.lot, story.planted_stall, story.goods, weight), receipt


def _opens(story: FoodStory) -> int:
    """When the planted stall has set up: after any arrival."""
    return story.midnight + 6 * HOUR + story.minutes(20, 60)


def _few(story: FoodStory, own: Stock, at: int) -> Stream:
    return story.sales(own, at, story.midnight + MARKETS_CLOSE, FEW, story.retail_price())


def _part(story: FoodStory, stock: Stock, weight: int) -> tuple[Trade, Stock]:
    """A trade of a part with the planted stall, and what the stall has then."""
    goods = amount(stock.lot, stock.take(weight))
    trade = story.trade(goods, stock.holder, story.planted_stall, story.wholesale_price())
    return trade, Stock(stock.lot, story.planted_stall, story.goods, weight)


def missing_upstream(story: FoodStory, stock: Stock, at: int) -> Stream:
    if not story.plants("missing_upstream"):
        yield from _recorded_late(story, stock, at)
        return
    own = Stock(lot_uri(story.goods.body, story.lot("X")), story.planted_stall, story.goods, 1_000)
    sale = story.sale(_opens(story), own, 120, story.retail_price())
    yield sale
    story.planted([sale[1]], own.holder[:9], own.lot)


def _recorded_late(story: FoodStory, stock: Stock, at: int) -> Stream:
    """The shipping comes into the stream 10 minutes after the receipt, with its true and earlier time."""
    trade, own = _part(story, stock, 1_500)
    leave = _leave(story, at)
    arrive = story.arrival(leave)
    receipt = story.received(arrive, trade)
    yield receipt
    _, late = story.shipped(leave, trade)
    yield arrive + 10 * MINUTE, late
    story.planted([late, receipt[1]], own.holder[:9], own.lot)
    yield from _few(story, own, _opens(story))


def received_not_shipped(story: FoodStory, stock: Stock, at: int) -> Stream:
    if not story.plants("received_not_shipped"):
        yield from _recorded_late(story, stock, at)
        return
    own = Stock(stock.lot, story.planted_stall, story.goods, 1_500)
    trade = story.trade(amount(own.lot, own.left), stock.holder, own.holder, story.wholesale_price())
    receipt = story.received(story.arrival(_leave(story, at)), trade)
    yield receipt
    story.planted([receipt[1]], own.holder[:9], own.lot)
    yield from _few(story, own, _opens(story))


def received_before_shipped(story: FoodStory, stock: Stock, at: int) -> Stream:
    trade, own = _part(story, stock, 1_500)
    arrive = story.arrival(_leave(story, at))
    if story.plants("received_before_shipped"):
        leave = arrive + 3 * HOUR
        receipt = story.received(arrive, trade)
        yield receipt
        story.telling.timeline.begin(_few(story, own, arrive + 60 * MINUTE))
        shipping = story.shipped(leave, trade)
        yield shipping
        story.planted([receipt[1], shipping[1]], own.holder[:9], own.lot)
        return
    shipping = story.shipped(arrive - MINUTE, trade)
    yield shipping
    receipt = story.received(arrive, trade)
    yield receipt
    story.planted([shipping[1], receipt[1]], own.holder[:9], own.lot)
    yield from _few(story, own, _opens(story))


def shipped_not_received(story: FoodStory, stock: Stock, at: int) -> Stream:
    trade, own = _part(story, stock, 1_500)
    leave = _leave(story, at)
    shipping = story.shipped(leave, trade)
    yield shipping
    if story.plants("shipped_not_received"):
        story.planted([shipping[1]], stock.holder[:9], own.lot)
        return
    receipt = story.received(leave + 20 * HOUR, trade)
    yield receipt
    story.planted([shipping[1], receipt[1]], own.holder[:9], own.lot)


def synthetic_link(story: FoodStory, stock: Stock, at: int) -> Stream:
    if story.plants("synthetic_link"):
        own = Stock(lot_uri(story.goods.body, story.lot("S")), story.planted_stall, story.goods, 10_000)
        fields = {**amount(own.lot, own.left), "suyuan:price": hundredths(0)}
        entered, node = story.midnight + MARKETS_OPEN + story.minutes(5, 60), own.holder[:9]
        entry = story.event(entered, node, "receiving", "in_progress", fields, "ADD")
        yield entry
        receipt = entry[1]
    else:
        own, receipt = yield from _bought(story, stock, at, 10_000)
    story.planted([receipt], own.holder[:9], own.lot)
    yield from _few(story, own, _opens(story))


def sold_more_than_bought(story: FoodStory, stock: Stock, at: int) -> Stream:
    """All of it is sold, and then 5 % or 1 % more."""
    count = story.dice.between(20, 30)
    own, _ = yield from _bought(story, stock, at, count * 100)
    more = count * 5 if story.plants("sold_more_than_bought") else count
    at, price = _opens(story), story.retail_price()
    for left in range(count, 0, -1):
        weight = own.left if left == 1 else own.left // left - 20 + story.dice.below(41)
        yield story.sale(at, own, weight, price)
        at += story.minutes(8, 22)
    own.left = more
    sale = story.sale(at, own, more, price)
    yield sale
    story.planted([sale[1]], own.holder[:9], own.lot)


def trace_code_twice(story: FoodStory, stock: Stock, at: int) -> Stream:
    own, _ = yield from _bought(story, stock, at, 1_500)
    at, price = _opens(story), story.retail_price()
    slip = story.slip(own.holder, at)
    first = story.sale(at, own, 110, price, slip)
    yield first
    if story.plants("trace_code_twice"):
        second = story.sale(at + 20 * MINUTE, own, 90, price, slip)
        yield second
    else:
        second = first
        yield first
    story.planted([first[1], second[1]], own.holder[:9], slip)
    yield from _few(story, own, at + 30 * MINUTE)


def dwell_time(story: FoodStory, stock: Stock, at: int) -> Stream:
    leave = max(at, story.midnight + WHOLESALE_OPENS) + story.minutes(5, 10)
    arrive = max(leave + 25 * MINUTE, story.midnight + MARKETS_OPEN + story.minutes(0, 10))
    trade, own = _part(story, stock, 1_500)
    yield story.shipped(leave, trade)
    receipt = story.received(arrive, trade)
    yield receipt
    at, price = arrive + (14 if story.plants("dwell_time") else 11) * HOUR, story.retail_price()
    first = story.sale(at, own, 100, price)
    yield first
    story.planted([receipt[1], first[1]], own.holder[:9], own.lot)
    yield from story.sales(own, at + 5 * MINUTE, max(at + 10 * MINUTE, story.midnight + MARKETS_CLOSE), 3, price)


def unlicensed_party(story: FoodStory, stock: Stock, at: int) -> Stream:
    own, _ = yield from _bought(story, stock, at, 1_500)
    sale = story.sale(_opens(story), own, 130, story.retail_price())
    yield sale
    story.planted([sale[1]], own.holder[:9], PARTY_URN + own.holder)


def price_outlier(story: FoodStory, stock: Stock, at: int) -> Stream:
    own, _ = yield from _bought(story, stock, at, 1_500)
    price = story.goods.price * 10 if story.plants("price_outlier") else story.goods.price * 3 // 2
    yield from _odd_sale(story, own, 90, price)


def weight_outlier(story: FoodStory, stock: Stock, at: int) -> Stream:
    own, _ = yield from _bought(story, stock, at, 6_000)
    yield from _odd_sale(story, own, 4_000 if story.plants("weight_outlier") else 300, story.retail_price())


def _odd_sale(story: FoodStory, own: Stock, weight: int, price: int) -> Stream:
    at = _opens(story)
    yield story.sale(at, own, 100, story.retail_price())
    odd = story.sale(at + 15 * MINUTE, own, weight, price)
    yield odd
    story.planted([odd[1]], own.holder[:9], own.lot)
    yield from _few(story, own, at + 25 * MINUTE)


def sale_of_expired(story: FoodStory, stock: Stock, at: int) -> Stream:
    """A supermarket's packs, to be sold by the day on which they are packed."""
    leave = _leave(story, at)
    arrive, supermarket = story.arrival(leave), story.places.party("supermarket", story.supermarket)
    yield from story.brought(stock, supermarket, 3_000, leave, arrive)
    own = Stock(stock.lot, supermarket, story.goods, 3_000)
    packs = yield from story.cut(own, arrive + story.minutes(20, 40), sell_by_days=0)
    price = story.retail_price(packs.goods)
    opens, closes = story.midnight + SUPERMARKETS_OPEN, story.midnight + SUPERMARKETS_CLOSE
    yield from story.sales(packs, opens + 20 * MINUTE, closes - 2 * HOUR, 15, price)
    last = opens + DAY + story.minutes(10, 60) if story.plants("sale_of_expired") else closes - story.minutes(5, 90)
    sale = story.sale(last, packs, 100, price)
    yield sale
    story.planted([sale[1]], supermarket[:9], packs.lot)


# --- recalls: at noon, by whoever made the lot; afterwards nobody sells and everybody destroys -------


def _recalled(story: FoodStory, stock: Stock, weight: int) -> Moment:
    at = story.midnight + 12 * HOUR + story.minutes(0, 60)
    return story.event(at, story.maker[:9], "holding", "recalled", amount(stock.lot, weight))


def _held(story: FoodStory, stock: Stock, stall: str, leave: int, until: int) -> Stock:
    """A stall buys, and sells till before the recall; what it then has left is known by the time it is asked."""
    own = Stock(stock.lot, stall, story.goods)
    story.telling.timeline.begin(_hold(story, stock, own, leave, until))
    return own


def _hold(story: FoodStory, stock: Stock, own: Stock, leave: int, until: int) -> Stream:
    own.left = 4_400  # more than all the sales can take
    yield from story.brought(stock, own.holder, own.left, leave, story.arrival(leave))
    yield from story.sales(own, _opens(story), until, story.dice.between(15, 25), story.retail_price())


def _destroyed(story: FoodStory, at: int, stocks: list[Stock]) -> Stream:
    for number, stock in enumerate(stocks):
        if stock.left:
            yield story.removed(at + number * 7 * MINUTE, stock, stock.left, destroyed=True)


def sale_after_recall(story: FoodStory, stock: Stock, at: int) -> Stream:
    recall, leave = _recalled(story, stock, stock.left), _leave(story, at)
    noon = recall[0]
    stalls = [story.planted_stall, *story.chosen[:2]]
    held = [_held(story, stock, stall, leave, noon - 45 * MINUTE) for stall in stalls]
    if story.plants("sale_after_recall"):
        yield recall
        sale = story.sale(noon + 30 * MINUTE, held[0], 100, story.retail_price())
        yield sale
    else:
        sale = story.sale(noon - 30 * MINUTE, held[0], 100, story.retail_price())
        yield sale
        yield recall
    story.planted([recall[1], sale[1]], held[0].holder[:9], stock.lot)
    yield from _destroyed(story, noon + 90 * MINUTE, [*held, stock])


def recalled_still_moving(story: FoodStory, stock: Stock, at: int) -> Stream:
    recall, leave = _recalled(story, stock, stock.left), _leave(story, at)
    noon = recall[0]
    held = [_held(story, stock, stall, leave, noon - 45 * MINUTE) for stall in story.chosen[:2]]
    goods = amount(stock.lot, 3_000)
    trade = story.trade(goods, stock.holder, story.canteen, story.wholesale_price())
    moved = Stock(stock.lot, story.canteen, story.goods, 3_000)
    if story.plants("recalled_still_moving"):
        yield recall
        shipping = story.shipped(noon + 40 * MINUTE, trade)
        yield shipping
        story.planted([recall[1], shipping[1]], stock.holder[:9], stock.lot)
        yield story.received(noon + 65 * MINUTE, trade)
    else:
        shipping = story.shipped(noon - 40 * MINUTE, trade)
        yield shipping
        yield story.received(noon - 15 * MINUTE, trade)
        yield recall
        story.planted([shipping[1], recall[1]], stock.holder[:9], stock.lot)
    stock.take(3_000)
    yield from _destroyed(story, noon + 90 * MINUTE, [*held, moved, stock])


MISHAPS: dict[str, Callable[[FoodStory, Stock, int], Stream]] = {
    tell.__name__: tell
    for tell in (
        missing_upstream, received_not_shipped, received_before_shipped, shipped_not_received, synthetic_link,
        sold_more_than_bought, trace_code_twice, dwell_time, unlicensed_party, price_outlier, weight_outlier,
        sale_of_expired, sale_after_recall, recalled_still_moving,
    )
}  # fmt: skip

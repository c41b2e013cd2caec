"""One story: goods on their way through the city. What all stories are made of. Pure.

A story keeps a little state and is told as streams of moments, which the timeline merges. Quantities are whole
hundredths (10 g, 分) until they stand in an event.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from ledger.codes import NODE_URN
from scanners.city.dice import DAY, HOUR, MINUTE, Calendar, Dice, hundredths
from scanners.city.goods import Goods
from scanners.city.places import Places, Serials
from scanners.city.plants import Due, Plant, says
from scanners.city.timeline import Json, Moment, Stream, Timeline

PARTY_URN, VOUCHER_URN, CERTIFICATE_URN = "urn:suyuan:party:", "urn:suyuan:voucher:", "urn:suyuan:certificate:"
SLIPS_KEPT = 100
"""The first slips of meat, which has the longest way behind it, from stories without a plant."""
WHOLESALE_OPENS, MARKETS_OPEN, MARKETS_CLOSE = 2 * HOUR, 4 * HOUR, 19 * HOUR


@dataclass(slots=True)
class Telling:
    """What the stories of one run share: the map, the calendar, the order of events, the running numbers."""

    seed: int
    places: Places
    calendar: Calendar
    timeline: Timeline
    serials: Serials
    slips: list[str]
    report: Callable[[Plant], None]


@dataclass(slots=True)
class Stock:
    """What one party holds of one lot; `left` in hundredths. It refuses to give what is not there."""

    lot: str
    holder: str
    goods: Goods
    left: int = 0

    def take(self, quantity: int) -> int:
        """`quantity`, taken off what is left."""
        if quantity > self.left:
            raise ValueError(f"{self.holder} has {self.left} of {self.lot}, not {quantity}: the story is wrong")
        self.left -= quantity
        return quantity


@dataclass(slots=True)
class Trade:
    """Goods between two parties under a voucher: what shipping and receiving say alike."""

    seller: str
    buyer: str
    fields: Json


class Story(ABC):
    """A story by its number, on a day. Subclasses plan it when made, so that `least` events are known beforehand."""

    least: int

    def __init__(self, telling: Telling, number: int, day: int, due: Due | None) -> None:
        self.telling, self.number, self.day, self.due = telling, number, day, due
        self.places = telling.places
        self.dice = Dice(telling.seed, telling.places.region, "story", number)
        self.midnight = day * DAY
        self._vouchers = self._papers = self._lots = 0

    @abstractmethod
    def stream(self) -> Stream:
        """The story's first stream, which begins the others."""

    def plants(self, kind: str) -> bool | None:
        """Whether this story has an anomaly (true) or a near-miss (false) of this kind, or None if neither."""
        return self.due.anomaly if self.due is not None and self.due.kind.name == kind else None

    def minutes(self, least: int, most: int) -> int:
        """Some time between so many minutes, in milliseconds."""
        return self.dice.between(least * MINUTE, most * MINUTE)

    # --- names ----------------------------------------------------------------------------------------

    def lot(self, letter: str) -> str:
        """A lot code of this story's own."""
        self._lots += 1
        day = self.telling.calendar.day(self.midnight)
        return f"{letter}{day:%y%m%d}{self.places.region}{self.number:06d}{self._lots:02d}"

    def certificate(self, kind: str) -> str:
        """A new certificate's URI."""
        self._papers += 1
        day = self.telling.calendar.day(self.midnight)
        return f"{CERTIFICATE_URN}{kind}:{self.places.region}{day:%y}{self.number:07d}{self._papers:02d}"

    def slip(self, seller: str, at: int) -> str:
        """A new trace code."""
        text = self.telling.calendar.time(at)
        return self.telling.serials.slip(seller, text[2:4] + text[5:7] + text[8:10])

    # --- events ---------------------------------------------------------------------------------------

    def event(self, at: int, node: str, step: str, disposition: str, fields: Json, action: str = "OBSERVE") -> Moment:
        """An ObjectEvent."""
        return at, {
            "type": "ObjectEvent", "eventID": self.dice.uuid(), "eventTime": self.telling.calendar.time(at),
            "eventTimeZoneOffset": "+08:00", "action": action, "bizStep": step, "disposition": disposition,
            "readPoint": {"id": NODE_URN + node}, **fields,
        }  # fmt: skip

    def transformed(self, at: int, node: str, step: str, disposition: str, fields: Json) -> Moment:
        """A TransformationEvent."""
        moment = self.event(at, node, step, disposition, fields)
        moment[1]["type"] = "TransformationEvent"
        del moment[1]["action"]
        return moment

    def trade(self, goods: Json, seller: str, buyer: str, price: int) -> Trade:
        """A new trade of `goods` (quantityList or epcList), with its voucher, at a price in 分 a unit."""
        self._vouchers += 1
        voucher = f"{VOUCHER_URN}{seller[:9]}{self.number:07d}{self._vouchers:04d}"
        fields = {
            **goods, "bizTransactionList": [{"type": "desadv", "bizTransaction": voucher}],
            "sourceList": [{"type": "owning_party", "source": PARTY_URN + seller}],
            "destinationList": [{"type": "owning_party", "destination": PARTY_URN + buyer}],
            "suyuan:price": hundredths(price),
        }  # fmt: skip
        return Trade(seller, buyer, fields)

    def shipped(self, at: int, trade: Trade) -> Moment:
        """The seller's exit."""
        return self.event(at, trade.seller[:9], "shipping", "in_transit", trade.fields)

    def received(self, at: int, trade: Trade, papers: list[Json] | None = None) -> Moment:
        """The buyer's entry, under certificates if there are any."""
        fields = {**trade.fields, **self.under(papers)} if papers else trade.fields
        return self.event(at, trade.buyer[:9], "receiving", "in_progress", fields)

    @staticmethod
    def under(papers: list[Json]) -> Json:
        """The fields of a receipt under certificates."""
        return {"certificationInfo": [paper["number"] for paper in papers], "suyuan:documents": papers}

    def paper(self, kind: str, number: str, at: int, quantity: int, *, days: int = 5, unit: str = "KGM") -> Json:
        """A certificate that is issued the day before `at` or earlier and expires `days` after it."""
        calendar = self.telling.calendar
        place = self.places.district_name(self.places.region + "01")
        return {
            "kind": kind, "number": number, "issuer": f"{place}{_ISSUERS[kind]}",
            "issued": calendar.day(at, min(0, days - 5)).isoformat(), "expires": calendar.day(at, days).isoformat(),
            "quantity": hundredths(quantity), "unit": unit,
        }  # fmt: skip

    def sale(self, at: int, stock: Stock, weight: int, price: int, slip: str | None = None) -> Moment:
        """A retail sale: so much of the lot becomes a slip, and leaves."""
        quantity, holder = hundredths(stock.take(weight)), stock.holder
        slip = slip or self.slip(holder, at)
        if self.due is None and len(self.telling.slips) < SLIPS_KEPT and stock.goods.kind == "meat":
            self.telling.slips.append(slip)
        return at, {
            "type": "TransformationEvent", "eventID": self.dice.uuid(), "eventTime": self.telling.calendar.time(at),
            "eventTimeZoneOffset": "+08:00", "bizStep": "retail_selling", "disposition": "retail_sold",
            "readPoint": {"id": NODE_URN + holder[:9]},
            "inputQuantityList": [{"epcClass": stock.lot, "quantity": quantity, "uom": "KGM"}],
            "outputQuantityList": [{"epcClass": slip, "quantity": quantity, "uom": "KGM"}],
            "sourceList": [{"type": "owning_party", "source": PARTY_URN + holder}],
            "suyuan:price": hundredths(price),
        }  # fmt: skip

    def removed(self, at: int, stock: Stock, weight: int, *, destroyed: bool = False) -> Moment:
        """Consumption, loss or destruction."""
        step, disposition = ("destroying", "destroyed") if destroyed else ("removing", "inactive")
        fields = amount(stock.lot, stock.take(weight), stock.goods.unit)
        return self.event(at, stock.holder[:9], step, disposition, fields, "DELETE")

    # --- plants ---------------------------------------------------------------------------------------

    def planted(self, events: list[Json], node: str, subject: str, kind: str = "", anomaly: bool = True) -> None:
        """Report this story's plant (or another one that comes with it), after its last event was told."""
        if not kind:
            if self.due is None:
                raise ValueError("a story without a plant reports none")
            kind, anomaly = self.due.kind.name, self.due.anomaly
        ordered = sorted(events, key=lambda event: str(event["eventTime"]))
        names = list(dict.fromkeys(str(event["eventID"]) for event in ordered))
        at = str(ordered[-1]["eventTime"])
        self.telling.report(Plant(kind, anomaly, names, at, node, subject, says(kind, anomaly)))


def amount(lot: str, quantity: int, unit: str = "KGM") -> Json:
    """A quantityList of one lot: hundredths of a kilogram, or of a head, which has no unit of measure."""
    element: Json = {"epcClass": lot, "quantity": hundredths(quantity)}
    return {"quantityList": [element if unit == "H87" else {**element, "uom": unit}]}


_ISSUERS = {
    "animal": "动物卫生监督所 animal health", "product": "动物卫生监督所 animal health",
    "inspection": "屠宰企业品质检验 meat inspection", "promise": "种植者承诺 grower's promise",
}  # fmt: skip

"""A day of the simulated city as what people did at their terminals, and what must be in the ledger afterwards.

Each food event of the city becomes one deed: the line that a person types or scans at the terminal of that step. What
the ledger has to hold of it is the city's own event, with the lots and slips renamed as the ledger numbered them; and
what is left of each lot is added up from the city's events. Nothing of the ledger's own code is used for either. Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from scanners.city import City
from scanners.city.dice import Dice

Json = dict[str, Any]
LOT, TRACE, PARTY, NODE = "https://id.gs1.org/01/", "urn:suyuan:trace:", "urn:suyuan:party:", "urn:suyuan:node:"
CERTIFICATE, VOUCHER = "urn:suyuan:certificate:", "urn:suyuan:voucher:"
STEPS = {
    "farm": {"commissioning": "origin_harvest", "shipping": "origin_out"},
    "slaughterhouse": {
        "receiving": "slaughter_intake", "inspecting": "quarantine", "killing": "slaughter", "shipping": "carcass_out",
    },
    "wholesale_market": {
        "receiving": "wholesale_entry", "inspecting": "wholesale_test", "shipping": "wholesale_trade",
    },
    "market": {"receiving": "retail_entry", "retail_selling": "retail_sale", "removing": "loss"},
    "supermarket": {
        "receiving": "supermarket_entry", "commissioning": "supermarket_packing", "retail_selling": "supermarket_sale",
    },
    "canteen": {"receiving": "canteen_entry", "removing": "canteen_use"},
}  # fmt: skip
"""The step by kind of node and the city's word for what happened. What is not here has no step: thermometers."""
Name = Callable[[str], str]
"""A lot of the city as the ledger numbered it."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something done at a counter: the city's event, and the person's way to name the goods.

    `lot` is the city's lot that it takes or receives, `makes` the one that comes into being. `under` is the deed whose
    slip the goods came with, to this place. `way` is how the goods are named: lot, slip, label or goods.
    """

    number: int
    step: str
    party: str
    event: Json
    lot: str | None
    makes: str | None
    under: int | None
    entered: int | None
    """The deed by which the lot came to be here."""
    way: str
    goods: str

    @property
    def gives_slip(self) -> bool:
        return self.event["bizStep"] in ("shipping", "retail_selling")

    @property
    def holder(self) -> str:
        """Whose stock it changes: a stall's, or the node's where the operator itself acts."""
        return self.party.removesuffix("0000")

    @property
    def quantity(self) -> tuple[Decimal, bool]:
        """How much, and whether it is counted and not weighed."""
        (element,) = _elements(self.event)
        return element["quantity"], "uom" not in element


class _Translator:
    """Follows the lots through the city: who holds one where, and with which slip it came."""

    def __init__(self, city: City) -> None:
        self.dice = Dice(city.seed, "people")
        self.kinds = {row["node"]: row["kind"] for row in city.nodes()}
        self.codes = {row["product"]: row["goods"] for row in city.products()}
        self.events = [*city.events()]
        self.sellers = {
            (event["readPoint"]["id"], _elements(event)[0]["epcClass"]): _party(event, "source")
            for event in self.events if event["bizStep"] == "shipping" and "quantityList" in event
        }  # fmt: skip
        self.sent: dict[str, int] = {}
        self.entered: dict[tuple[str, str], tuple[int, int | None]] = {}
        self.held: dict[tuple[str, str], str] = {}
        self.goods_at: dict[tuple[str, str], set[str]] = {}

    def deeds(self) -> Iterator[Deed]:
        number = 0
        for event in self.events:
            step = STEPS.get(self.kinds[_node(event)], {}).get(event["bizStep"])
            if step is not None:
                yield self.deed(number, step, event)
                number += 1

    def deed(self, number: int, step: str, event: Json) -> Deed:
        lot, makes = _lots(event)
        party = self.party(event, lot or makes)
        came = self.entered.get((party, lot or ""))
        under = came[1] if came else None
        if event["bizStep"] == "receiving":
            (deal,) = event.get("bizTransactionList") or [{"bizTransaction": ""}]
            under = self.sent.get(deal["bizTransaction"])
            self.entered[party, lot or makes or ""] = (number, under)
        elif event["bizStep"] == "shipping":
            self.sent[event["bizTransactionList"][0]["bizTransaction"]] = number
        for one in (lot, makes):
            if one is not None:
                self.held[_node(event), one] = party
                self.goods_at.setdefault((party, self.code(one)), set()).add(one)
        way = self.way(event, party, lot, under)
        return Deed(
            number, step, party, event, lot, makes, under, came[0] if came else None, way, self.code(lot or makes or "")
        )

    def code(self, lot: str) -> str:
        """The goods code of a lot of the city."""
        return self.codes[_gtin(lot)]

    def party(self, event: Json, lot: str | None) -> str:
        """Who acted: the event of the city says it, or it is who has the lot there."""
        node, step = _node(event), event["bizStep"]
        if step in ("shipping", "retail_selling"):
            return _party(event, "source")
        if step == "receiving":
            return _party(event, "destination") or self.sellers[event["readPoint"]["id"], lot or ""]
        return self.held.get((node, lot or ""), f"{node}0000")

    def way(self, event: Json, party: str, lot: str | None, under: int | None) -> str:
        """How the person names the goods; by their kind alone only at a sale, where no other lot of it is there."""
        ways = ["lot", "lot"]
        if event["bizStep"] == "receiving":
            return "label" if event["action"] == "ADD" else "slip"
        if under is not None:
            ways += ["slip", "slip"]
        if lot is not None and event["bizStep"] == "retail_selling":
            ways += ["goods"] if len(self.goods_at[party, self.code(lot)]) == 1 else []
        return self.dice.one(ways)


def deeds_of(city: City) -> list[Deed]:
    """All that is done with food on the city's days, in order.

    A stall that gets a second lot of the same goods later never names its goods by their kind: which lot that is
    would depend on when the network lets the entry through.
    """
    translator = _Translator(city)
    deeds = [*translator.deeds()]
    several = {key for key, lots in translator.goods_at.items() if len(lots) > 1}
    return [
        replace(one, way="lot") if (one.party, one.goods) in several and one.way == "goods" else one for one in deeds
    ]


def _node(event: Json) -> str:
    return str(event["readPoint"]["id"]).removeprefix(NODE)


def _party(event: Json, end: str) -> str:
    for one in event.get(f"{end}List") or ():
        return str(one[end]).removeprefix(PARTY)
    return ""


def _elements(event: Json) -> list[Json]:
    return [*(event.get("quantityList") or event["inputQuantityList"])]


def _gtin(lot: str) -> str:
    return lot.removeprefix(LOT).partition("/")[0]


def _lots(event: Json) -> tuple[str | None, str | None]:
    """The lot that is taken or moved, and the one that is made."""
    (first,) = _elements(event)
    if "inputQuantityList" in event:
        (out,) = event["outputQuantityList"]
        return first["epcClass"], None if out["epcClass"].startswith(TRACE) else out["epcClass"]
    return (None, first["epcClass"]) if event["action"] == "ADD" else (first["epcClass"], None)


# --- What the person types ------------------------------------------------------------------------


def line_of(deed: Deed, lot: Name, slip: Callable[[int], str], dice: Dice, more: Decimal = Decimal(0)) -> str:
    """The line for a deed; `more` is what is weighed too much, where the person errs."""
    event, words = deed.event, [_named(deed, lot, slip)]
    step = event["bizStep"]
    if step != "inspecting" and not (deed.way == "slip" and step == "receiving" and dice.below(2)):
        quantity, counted = deed.quantity
        words.append(_typed(quantity + more, counted, dice))
    if "suyuan:price" in event and step != "inspecting":
        words.append(f"@{event['suyuan:price']:f}")
    if step == "shipping":
        words.append(f"to={_party(event, 'destination')}")
    if step == "receiving" and deed.way == "label":
        words.append(f"to={_party(event, 'source')}")
    if step == "inspecting":
        words.append(f"result={_result(event)}")
    if "outputQuantityList" in event and deed.makes is not None:
        (made,) = event["outputQuantityList"]
        words.append(f"made={made['quantity']:f}kg")
    return " ".join([*words, *_vouchers(event)])


def _named(deed: Deed, lot: Name, slip: Callable[[int], str]) -> str:
    step = deed.event["bizStep"]
    if deed.lot is None and deed.way == "label":
        gtin, _, batch = (deed.makes or "").removeprefix(LOT).partition("/10/")
        return f"(01){gtin}(10){batch}"
    if deed.lot is None:
        return f"goods={deed.goods if deed.number % 2 else _gtin(deed.makes or '')}"
    made = "" if deed.makes is None else f" goods={'21113011' if step == 'killing' else _gtin(deed.makes)}"
    match deed.way:
        case "slip" if deed.under is not None:
            return slip(deed.under) + made
        case "goods":
            return f"goods={deed.goods}"
    name = lot(deed.lot)
    if name.startswith(LOT) and deed.number % 3:
        return "(01){}(10){}".format(*name.removeprefix(LOT).split("/10/")) + made
    return f"lot={name}{made}"


def _typed(quantity: Decimal, counted: bool, dice: Dice) -> str:
    """As one person or another types it."""
    if counted:
        return f"{quantity:f}pc"
    ways = [f"{quantity:f}", f"{quantity:f}kg"]
    if quantity < 100:
        ways += [f"{quantity * 1000:f}g", f"{quantity * 2:f}jin"]
    return dice.one(ways)


def _result(event: Json) -> str:
    for sensor in event.get("sensorElementList") or ():
        return f"{sensor['sensorReport'][0]['value']:f}"
    return "合格"


def _vouchers(event: Json) -> Iterator[str]:
    for one in event.get("certificationInfo") or ():
        yield f"voucher={str(one).removeprefix(CERTIFICATE)}"
    for one in event.get("bizTransactionList") or ():
        yield f"voucher=transaction:{str(one['bizTransaction']).removeprefix(VOUCHER)}"


# --- What has to be in the ledger -----------------------------------------------------------------

_ALIKE = ("type", "action", "bizStep", "disposition", "sensorElementList", "bizTransactionList", "suyuan:price")
_LISTS = ("quantityList", "inputQuantityList", "outputQuantityList")


def wanted(deed: Deed, lot: Name, slip: Callable[[int], str], more: Decimal = Decimal(0)) -> Json:
    """The city's event as the ledger has to hold it, but for its id, its time and the terminal's own words."""
    event, step = deed.event, deed.event["bizStep"]
    found: Json = {name: event[name] for name in _ALIKE if name in event}
    found["readPoint"] = {"id": NODE + deed.holder if len(deed.holder) == 9 else PARTY + deed.party}
    for name in _LISTS:
        if name in event:
            found[name] = [_element(one, deed, lot, slip, more) for one in event[name]]
    if step == "inspecting":  # a look takes nothing: the lot is named, no quantity
        found["quantityList"] = [{"epcClass": found["quantityList"][0]["epcClass"]}]
    papers = [*event.get("certificationInfo", [])]
    if step == "shipping" or (step == "receiving" and deed.under is not None):
        papers.append(TRACE + slip(deed.number if step == "shipping" else deed.under or 0))
    if papers:
        found["certificationInfo"] = papers
    if step in ("shipping", "receiving"):
        found["sourceList"] = event["sourceList"]
        found["destinationList"] = [{"type": "owning_party", "destination": PARTY + deed.party}]
        if step == "shipping":
            found["destinationList"] = event["destinationList"]
    return found


def _element(one: Json, deed: Deed, lot: Name, slip: Callable[[int], str], more: Decimal) -> Json:
    name = str(one["epcClass"])
    sold = name.startswith(TRACE)
    return {**one, "epcClass": TRACE + slip(deed.number) if sold else lot(name), "quantity": one["quantity"] + more}


_OBSERVED = {"receiving": 1, "shipping": -1}


def left(deeds: list[Deed]) -> Mapping[tuple[str, str, str], Decimal]:
    """What is left of each of the city's lots: by lot, holder and unit, without what is nothing."""
    total: dict[tuple[str, str, str], Decimal] = {}
    for deed in deeds:
        event = deed.event
        sign = {"ADD": 1, "DELETE": -1, "OBSERVE": _OBSERVED.get(event["bizStep"], 0)}.get(event.get("action", ""), 0)
        for name, factor in (("quantityList", sign), ("inputQuantityList", -1), ("outputQuantityList", 1)):
            for one in event.get(name) or ():
                if not str(one["epcClass"]).startswith(TRACE) and factor:
                    key = (str(one["epcClass"]), deed.holder, str(one.get("uom", "")))
                    total[key] = total.get(key, Decimal(0)) + factor * one["quantity"]
    assert all(quantity >= 0 for quantity in total.values()), "the city sells what is not there"
    return {key: quantity for key, quantity in total.items() if quantity}

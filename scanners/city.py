"""A city's day, made from a seed: pork, vegetables and medicines on their way, as EPCIS 2.0 events.

The same seed gives the same bytes. Events come as a stream, in constant memory, and their quantities add up: what a
stall sells never exceeds what it received. All names and codes are invented: GS1 keys use the prefix 690 1234, which is
nobody's here, and regions are of the form 3302xx.
"""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from ledger.codes import NODE_URN, TRACE_URN
from ledger.gs1 import check_digit

Json = dict[str, Any]
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
OFFSET = timezone(timedelta(hours=8))
PIG, PORK, GREENS, PILLS = "690123450010", "690123450020", "690123450030", "690123450040"
SLAUGHTERHOUSES, WHOLESALERS, MARKETS, PHARMACIES = 2, 3, 12, 8


def gtin(body: str) -> str:
    """A GTIN-14 from 12 digits."""
    return f"0{body}{check_digit(f'0{body}')}"


def lot_uri(body: str, lot: str) -> str:
    """A lot of goods as a Digital Link."""
    return f"https://id.gs1.org/01/{gtin(body)}/10/{lot}"


def node_code(kind: int, number: int) -> str:
    """A node of the city: region by kind, serial within it."""
    return f"{330200 + kind:06d}{number + 1:03d}"


@dataclass(frozen=True)
class Place:
    """A node of the simulated city."""

    code: str
    name: str


def places() -> list[Place]:
    """Every node that the day needs."""
    kinds = (
        (1, SLAUGHTERHOUSES, "屠宰场 slaughterhouse"), (2, WHOLESALERS, "批发市场 wholesale market"),
        (3, MARKETS, "农贸市场 market"), (4, PHARMACIES, "药店 pharmacy"), (5, 1, "药厂 drug plant"),
    )  # fmt: skip
    return [Place(node_code(kind, i), f"{name} {i + 1}") for kind, count, name in kinds for i in range(count)]


class City:
    """One simulated day. `events()` yields at least `events` events and stops after a whole batch of goods."""

    def __init__(self, seed: int, day: datetime, events: int) -> None:
        self._random = random.Random(seed)
        self._day = day.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=OFFSET)
        self._wanted, self._made, self._lots = events, 0, 0
        self._serials: dict[str, int] = {}
        self.slips: list[str] = []
        """Trace codes of the first slips, to have something to ask for."""

    def events(self) -> Iterator[Json]:
        """The day's events, each a dict ready to be captured."""
        while self._made < self._wanted:
            for batch in (self._pork, self._greens, self._pills):
                for event in batch():
                    self._made += 1
                    yield event

    def _event(self, kind: str, minutes: float, node: str, step: str, disposition: str, **fields: Any) -> Json:
        at = self._day + timedelta(minutes=minutes, milliseconds=self._random.randrange(1000))
        return {
            "type": kind, "eventID": f"urn:uuid:{uuid.UUID(int=self._random.getrandbits(128), version=4)}",
            "eventTime": at.isoformat(timespec="milliseconds"), "eventTimeZoneOffset": "+08:00",
            "bizStep": step, "disposition": disposition, "readPoint": {"id": NODE_URN + node}, **fields,
        }  # fmt: skip

    def _lot(self, prefix: str) -> str:
        self._lots += 1
        return f"{prefix}{self._day:%y%m%d}{self._lots:05d}"

    def _slip(self, node: str) -> str:
        """A slip's trace code, scheme A: the market's own party, and a running serial."""
        serial = self._serials[node] = self._serials.get(node, 0) + 1
        return f"{node}0001{serial:07d}"

    @staticmethod
    def _goods(uri: str, quantity: Decimal | int, uom: str | None = "KGM") -> Json:
        return {"epcClass": uri, "quantity": quantity, **({"uom": uom} if uom else {})}

    def _party(self, code: str) -> str:
        return f"urn:suyuan:party:{code}0001"

    def _pork(self) -> Iterator[Json]:
        """A farm's pigs are slaughtered, the pork goes to market stalls, and is sold on slips."""
        r = self._random
        abattoir, wholesaler = node_code(1, r.randrange(SLAUGHTERHOUSES)), node_code(2, r.randrange(WHOLESALERS))
        heads = r.randint(8, 20)
        pigs, pork = lot_uri(PIG, self._lot("F")), lot_uri(PORK, self._lot("P"))
        certificate = f"urn:suyuan:certificate:animal:{r.randrange(10**9):09d}"
        yield self._event(
            "ObjectEvent", 60, abattoir, "receiving", "in_progress", action="ADD",
            quantityList=[self._goods(pigs, heads, None)], certificationInfo=[certificate],
            sourceList=[{"type": "possessing_party", "source": f"urn:suyuan:party:farm{r.randrange(400):04d}"}],
        )  # fmt: skip
        weight = Decimal(heads * r.randint(780, 860)) / 10
        yield self._event(
            "TransformationEvent", 120, abattoir, "commissioning", "active",
            inputQuantityList=[self._goods(pigs, heads, None)], outputQuantityList=[self._goods(pork, weight)],
            certificationInfo=[certificate.replace("animal", "product")],
        )  # fmt: skip
        yield from self._trade(pork, weight, abattoir, wholesaler, 180)
        yield from self._to_stalls(pork, weight, wholesaler, 240)

    def _greens(self) -> Iterator[Json]:
        """A lot of vegetables enters a wholesale market, is tested, and goes the same way."""
        r = self._random
        wholesaler = node_code(2, r.randrange(WHOLESALERS))
        greens, weight = lot_uri(GREENS, self._lot("V")), Decimal(r.randint(2000, 8000)) / 10
        yield self._event(
            "ObjectEvent", 70, wholesaler, "receiving", "in_progress", action="ADD",
            quantityList=[self._goods(greens, weight)],
            sourceList=[{"type": "possessing_party", "source": f"urn:suyuan:party:farm{r.randrange(400):04d}"}],
        )  # fmt: skip
        yield self._event(
            "ObjectEvent", 90, wholesaler, "inspecting", "conformant", action="OBSERVE",
            quantityList=[self._goods(greens, weight)],
            sensorElementList=[{
                "sensorReport": [
                    {"type": "Dimensionless", "value": Decimal(r.randint(10, 420)) / 10, "uom": "P1"}
                ]
            }],
        )  # fmt: skip
        yield from self._to_stalls(greens, weight, wholesaler, 150)

    def _trade(self, lot: str, weight: Decimal, seller: str, buyer: str, minutes: float) -> Iterator[Json]:
        """Seller's exit and buyer's entry of part of a lot, tied by a transaction voucher."""
        voucher = f"urn:suyuan:voucher:{seller}{self._random.randrange(10**11):011d}"
        trade = {
            "quantityList": [self._goods(lot, weight)], "action": "OBSERVE",
            "bizTransactionList": [{"type": "desadv", "bizTransaction": voucher}],
            "sourceList": [{"type": "owning_party", "source": self._party(seller)}],
            "destinationList": [{"type": "owning_party", "destination": self._party(buyer)}],
        }  # fmt: skip
        yield self._event("ObjectEvent", minutes, seller, "shipping", "in_transit", **trade)
        yield self._event("ObjectEvent", minutes + 25, buyer, "receiving", "in_progress", **trade)

    def _to_stalls(self, lot: str, weight: Decimal, seller: str, minutes: float) -> Iterator[Json]:
        r = self._random
        stalls = r.sample(range(MARKETS), 3)
        share = (weight / len(stalls)).quantize(Decimal("0.1"), rounding="ROUND_DOWN")
        for stall in stalls:
            market = node_code(3, stall)
            yield from self._trade(lot, share, seller, market, minutes)
            left, at = share, minutes + 60
            for _ in range(r.randint(12, 20)):
                sold = min(left, Decimal(r.randint(3, 30)) / 10)
                if sold <= 0:
                    break
                left, at = left - sold, at + r.uniform(1, 20)
                yield self._sale(lot, sold, market, at)

    def _sale(self, lot: str, weight: Decimal, market: str, at: float) -> Json:
        slip = TRACE_URN + self._slip(market)
        if len(self.slips) < 100:
            self.slips.append(slip)
        return self._event(
            "TransformationEvent", at, market, "retail_selling", "retail_sold",
            inputQuantityList=[self._goods(lot, weight)], outputQuantityList=[self._goods(slip, weight)],
        )  # fmt: skip

    def _pills(self) -> Iterator[Json]:
        """Packs are commissioned, packed in a case, shipped to a pharmacy, unpacked, and sold one by one."""
        r = self._random
        plant, pharmacy = node_code(5, 0), node_code(4, r.randrange(PHARMACIES))
        lot = self._lot("B")
        packs = [f"https://id.gs1.org/01/{gtin(PILLS)}/21/{lot}{i:03d}" for i in range(20)]
        serial = f"0{PILLS[:7]}{self._lots:09d}"
        case = f"https://id.gs1.org/00/{serial}{check_digit(serial)}"
        ilmd = {"cbvmda:lotNumber": lot, "cbvmda:itemExpirationDate": f"{self._day.year + 2}-12-31"}
        yield self._event("ObjectEvent", 30, plant, "commissioning", "active", action="ADD", epcList=packs, ilmd=ilmd)
        inside = {"parentID": case, "childEPCs": packs}
        yield self._event("AggregationEvent", 45, plant, "packing", "in_progress", action="ADD", **inside)
        for minutes, node, step in ((60, plant, "shipping"), (200, pharmacy, "receiving")):
            state = "in_transit" if step == "shipping" else "in_progress"
            yield self._event("ObjectEvent", minutes, node, step, state, action="OBSERVE", epcList=[case])
        yield self._event("AggregationEvent", 230, pharmacy, "unpacking", "in_progress", action="DELETE", **inside)
        for i, pack in enumerate(packs[: r.randint(8, 16)]):
            yield self._event(
                "ObjectEvent", 480 + 20 * i, pharmacy, "dispensing", "dispensed", action="OBSERVE", epcList=[pack]
            )


def document(events: list[Json], at: datetime) -> Json:
    """Events as an EPCISDocument."""
    return {
        "@context": [CONTEXT], "type": "EPCISDocument", "schemaVersion": "2.0",
        "creationDate": at.isoformat(timespec="milliseconds"), "epcisBody": {"eventList": events},
    }  # fmt: skip

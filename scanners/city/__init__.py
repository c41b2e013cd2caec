"""A simulated city: its nodes, parties, goods and licences as rows, and its days as EPCIS 2.0 events, from a seed.

The same seed gives the same bytes, on any machine. Events come as a stream in the order of their times, in memory
that is bounded by what is under way, and their quantities add up: nothing is sold, shipped or eaten that is not there
at that moment. What does not add up is planted, and every plant is reported. All names and numbers are invented.

Pure: no clock, no environment.
"""

from collections.abc import Callable, Iterator
from datetime import date

from scanners.city.dice import OFFSET, Calendar
from scanners.city.files import CONTEXT, EVENTS_A_LINE, document, write
from scanners.city.goods import goods_rows, gtin, lot_uri, product_rows, yield_rows
from scanners.city.parties import Register
from scanners.city.places import Places, Serials
from scanners.city.plants import Plant, ignore
from scanners.city.schedule import Schedule
from scanners.city.story import Telling
from scanners.city.timeline import Json, Timeline

__all__ = [
    "CONTEXT",
    "EVENTS_A_LINE",
    "OFFSET",
    "TABLES",
    "City",
    "Json",
    "Plant",
    "document",
    "gtin",
    "ignore",
    "lot_uri",
    "write",
]
TABLES = tuple(f"{name}.csv" for name in "regions nodes goods yields products parties licences".split())
"""The registers that a city has, as files."""
_DAYS_MOST, _EVENTS_MOST, _EVENTS_A_NODE_MOST = 3_650, 100_000_000, 20_000


class City:
    """A city by its seed and first day. What it yields is made anew each time it is asked for."""

    def __init__(
        self, seed: int, day: date, *, nodes: int = 40, parties: int | None = None, events: int = 20_000, days: int = 1,
        plant_every: int = 8, region: str = "3399",
    ) -> None:  # fmt: skip
        """`ValueError` says which number makes no city."""
        if not 1 <= days <= _DAYS_MOST:
            raise ValueError(f"a city lasts 1 to {_DAYS_MOST:,} days, not {days}")
        if not days <= events <= _EVENTS_MOST:
            raise ValueError(f"a city of {days} days has {days} to {_EVENTS_MOST:,} events, not {events:,}")
        if plant_every < 0:
            raise ValueError(f"every {plant_every}th story cannot have a plant; 0 plants nothing")
        self.places = Places(seed, region, nodes, 5 * nodes if parties is None else parties, days)
        if events > _EVENTS_A_NODE_MOST * nodes * days:
            raise ValueError(f"{events:,} events are too many for {nodes} nodes in {days} days")
        self.seed, self.days, self.wanted, self.plant_every = seed, days, events, plant_every
        self.first = date(day.year, day.month, day.day)
        self._register = Register(self.places, self.first)
        self.slips: list[str] = []
        """Trace codes of the first slips of meat in the last telling, to have something to ask for."""

    def regions(self) -> Iterator[dict[str, str]]:
        """The rows of regions.csv."""
        return self.places.region_rows()

    def nodes(self) -> Iterator[dict[str, str]]:
        """The rows of nodes.csv."""
        return self.places.rows()

    def goods(self) -> Iterator[dict[str, str]]:
        """The rows of goods.csv."""
        return goods_rows()

    def yields(self) -> Iterator[dict[str, str]]:
        """The rows of yields.csv."""
        return yield_rows()

    def products(self) -> Iterator[dict[str, str]]:
        """The rows of products.csv."""
        places = self.places
        supermarkets = (places.party("supermarket", number) for number in range(places.counts["supermarket"]))
        plants = [places.party("drug_plant", number) for number in range(places.counts["drug_plant"])]
        return product_rows(places.region, supermarkets, plants)

    def parties(self) -> Iterator[dict[str, str]]:
        """The rows of parties.csv."""
        return self._register.parties()

    def licences(self) -> Iterator[dict[str, str]]:
        """The rows of licences.csv."""
        return self._register.licences()

    def tables(self) -> dict[str, Callable[[], Iterator[dict[str, str]]]]:
        """The tables by the names of their files."""
        return {name: getattr(self, name.removesuffix(".csv")) for name in TABLES}

    def events(self, plants: Callable[[Plant], None] = ignore) -> Iterator[Json]:
        """At least `events` events in the order of their times; `plants` is told of each plant after its last."""
        self.slips = []
        telling = Telling(
            self.seed, self.places, Calendar(self.first), Timeline(), Serials(self.places), self.slips, plants
        )
        return Schedule(telling, self.wanted, self.days, self.plant_every).events()

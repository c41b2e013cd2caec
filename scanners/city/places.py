"""The city's map: which nodes there are, in which district, and which parties trade at each.

Everything is arithmetic on the number of a node or party, so that the largest city takes no memory. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.codes import TRACE_URN, parse_node
from ledger.errors import UnreadableCode
from ledger.gs1 import check_digit
from scanners.city.dice import Dice
from scanners.city.people import place_name


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of node: the least number of them, and how many of a thousand nodes are of it."""

    name: str
    chinese: str
    least: int
    share: int
    party_kinds: str


KINDS = (
    Kind("farm", "养殖种植场 farm", 1, 150, "farm"),
    Kind("slaughterhouse", "屠宰场 slaughterhouse", 1, 20, "slaughterer"),
    Kind("wholesale_market", "批发市场 wholesale market", 1, 20, "market_opener"),
    Kind("market", "农贸市场 market", 2, 300, "market_opener"),
    Kind("supermarket", "超市 supermarket", 1, 120, "supermarket retailer"),
    Kind("canteen", "食堂 canteen", 1, 100, "canteen"),
    Kind("pharmacy", "药店 pharmacy", 2, 220, "pharmacy"),
    Kind("drug_wholesaler", "医药公司 drug wholesaler", 1, 20, "drug_wholesaler"),
    Kind("drug_plant", "制药厂 drug plant", 1, 10, "manufacturer"),
    Kind("hospital", "医院 hospital", 1, 40, "hospital"),
)
NODES_LEAST, NODES_MOST = sum(kind.least for kind in KINDS), 36_000
STALLS_LEAST, TRADERS_LEAST = 4, 4
"""Stalls a market, and wholesalers and suppliers a wholesale market."""
SERIALS_MOST = 4_000
LAPSING_MOST = 400
"""Stalls that exist for their lapsing licences, one a day from the day before the first."""
SUPPLIERS_FROM, REGULATOR = 5_000, 9_001
"""Serials in a wholesale market: 1 … wholesalers, 5000 … suppliers; the city's regulator is filed at the first."""
_OLD_DISTRICT = 99
_OLD_EVERY = 20


class Places:
    """A city of so many nodes and parties, in the districts of a region of four digits."""

    def __init__(self, seed: int, region: str, nodes: int, parties: int, days: int) -> None:
        self.seed, self.region, self.nodes_count, self.days = seed, _checked_region(region), nodes, days
        if not NODES_LEAST <= nodes <= NODES_MOST:
            raise ValueError(f"a city has {NODES_LEAST} to {NODES_MOST:,} nodes, not {nodes}")
        spare = nodes - NODES_LEAST
        self.counts = {kind.name: kind.least + spare * kind.share // 1000 for kind in KINDS}
        self.counts["market"] += nodes - sum(self.counts.values())
        self.first: dict[str, int] = {}
        for kind in KINDS:
            self.first[kind.name] = sum(self.counts[before] for before in self.first)
        self.districts = max(2, -(-nodes // 400))
        self._share_out(parties)

    def _share_out(self, parties: int) -> None:
        markets, wholesale = self.counts["market"], self.counts["wholesale_market"]
        spare = parties - self.nodes_count - 1
        least = self.nodes_count + 1 + STALLS_LEAST * markets + TRADERS_LEAST * wholesale
        if parties < least:
            raise ValueError(f"a city of {self.nodes_count} nodes has at least {least} parties, not {parties}")
        most = min(spare // 5, spare - STALLS_LEAST * markets) // wholesale
        traders = min(SERIALS_MOST, max(TRADERS_LEAST, most))
        self.suppliers = traders // 2
        self.wholesalers = traders - self.suppliers
        self.stalls, self.more_stalls = divmod(spare - traders * wholesale, markets)
        if self.stalls >= SERIALS_MOST:
            raise ValueError(f"{parties} parties are too many for {self.nodes_count} nodes: give more nodes")
        self.lapsing = min(self.days + 1, LAPSING_MOST, max(2, self.stalls * markets // 10))
        self.trading = self.stalls - -(-self.lapsing // markets)
        """Stalls a market that trade all the time; the last ones are there for their lapsing licences."""

    def stalls_of(self, market: int) -> int:
        """How many stalls a market has; the first markets have those that are left over."""
        return self.stalls + (market < self.more_stalls)

    def node(self, kind: str, number: int) -> str:
        """The code of the so-manieth node of a kind."""
        if kind == "market" and number % _OLD_EVERY == 1:
            return f"{self.region}{_OLD_DISTRICT}{number // _OLD_EVERY + 1:03d}"
        place = self.first[kind] + number
        return f"{self.region}{place % self.districts + 1:02d}{place // self.districts + 1:03d}"

    def district(self, node: str) -> str:
        """The district of today in which a node lies: 6 digits."""
        return f"{self.region}01" if node[4:6] == str(_OLD_DISTRICT) else node[:6]

    def party(self, kind: str, number: int, serial: int = 0) -> str:
        """A party at the so-manieth node of a kind; serial 0 is the node itself."""
        return f"{self.node(kind, number)}{serial:04d}"

    def one(self, kind: str, dice: Dice) -> str:
        """The party of some node of a kind."""
        return self.party(kind, dice.below(self.counts[kind]))

    def lapsing_stall(self, day: int) -> str | None:
        """The stall whose licence ends on the so-manieth day, -1 being the day before the first."""
        if not -1 <= day < self.lapsing - 1:
            return None
        row, market = divmod(day + 1, self.counts["market"])
        return self.party("market", market, self.stalls - row)

    def scheme(self, node: str) -> str:
        """How a node numbers its slips: A or B."""
        return "B" if int(node[6:]) % 3 == 2 else "A"

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows of nodes.csv."""
        for kind in KINDS:
            for number in range(self.counts[kind.name]):
                node = self.node(kind.name, number)
                yield {
                    "node": node, "name": self.name(kind, number), "kind": kind.name,
                    "trace_scheme": self.scheme(node), "region": self.district(node),
                    "locations": " ".join(self._locations(self.first[kind.name] + number)),
                }  # fmt: skip

    def name(self, kind: Kind, number: int) -> str:
        """As people call the node."""
        place = place_name(Dice(self.seed, "place", kind.name, number))
        return f"{place}{kind.chinese} {number + 1}"

    def _locations(self, place: int) -> Iterator[str]:
        """A third of the nodes have no GLN, a third one, a third two."""
        for number in (place, place + 50_000)[: place % 3]:
            body = f"690{self.region}{number:05d}"
            yield f"https://id.gs1.org/414/{body}{check_digit(body)}"

    def district_name(self, district: str) -> str:
        """As people call a district."""
        return f"{place_name(Dice(self.seed, 'district', district))}区"

    def region_rows(self) -> Iterator[dict[str, str]]:
        """The rows of regions.csv: the districts, and the one of old that became the first."""
        for number in range(1, self.districts + 1):
            district = f"{self.region}{number:02d}"
            yield {
                "region": district, "name": f"{self.district_name(district)} district {number}", "successor": "",
                "since": "2015-01-01", "until": "",
            }  # fmt: skip
        yield {
            "region": f"{self.region}{_OLD_DISTRICT}", "name": "老城区 old town", "successor": f"{self.region}01",
            "since": "1999-01-01", "until": "2014-12-31",
        }  # fmt: skip


class Serials:
    """The running numbers of slips: by party, or by node and day. Memory is bounded by the parties."""

    def __init__(self, places: Places) -> None:
        self._schemes = places.scheme
        self._by_party: dict[str, int] = {}
        self._by_day: dict[str, dict[str, int]] = {}

    def slip(self, party: str, day: str) -> str:
        """A new slip's URI; `day` is yyMMdd."""
        node = party[:9]
        if self._schemes(node) == "A":
            serial = self._by_party[party] = self._by_party.get(party, 0) + 1
            if serial > 9_999_999:
                raise ValueError(
                    f"party {party} sells more than 9,999,999 times, which a slip of scheme A cannot count"
                )
            return f"{TRACE_URN}{party}{serial:07d}"
        today = self._by_day.get(day)
        if today is None:
            today = self._by_day[day] = {}
            for old in sorted(self._by_day)[:-3]:
                del self._by_day[old]
        serial = today[node] = today.get(node, 0) + 1
        if serial > 99_999:
            raise ValueError(
                f"node {node} sells more than 99,999 times on {day}, which a slip of scheme B cannot count"
            )
        return f"{TRACE_URN}{node}{day}{serial:05d}"


def _checked_region(region: str) -> str:
    try:
        parse_node(f"{region}01001")
    except UnreadableCode as error:
        raise ValueError(f"the region {region!r} is not the first four digits of a city's codes: {error}") from None
    if len(region) != 4:
        raise ValueError(f"the region {region!r} has {len(region)} digits, not 4")
    return region

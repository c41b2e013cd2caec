"""Which stories a day has, and which of them have a plant. Pure."""

from collections import deque
from collections.abc import Iterator

from scanners.city.dice import DAY
from scanners.city.food import Cluster, Greens, Pork
from scanners.city.goods import VEGETABLES
from scanners.city.medicine import Medicine
from scanners.city.plants import EAGER_EVERY, KINDS, Due, allotment
from scanners.city.story import Story, Telling
from scanners.city.temperature import REPORTS, ColdStore
from scanners.city.timeline import Json

_ORDINARY: tuple[type[Pork | Greens | Medicine], ...] = (Greens, Pork, Greens, Medicine, Pork)
"""By the number of the story modulo their number: the first story is pork."""
_COLD_SHARE = 20
"""Cold stores make at most one event in so many."""


class Schedule:
    """The stories of a city, day by day: so many that there are at least `wanted` events, spread evenly."""

    def __init__(self, telling: Telling, wanted: int, days: int, plant_every: int) -> None:
        self._telling, self._wanted, self._days, self._plant_every = telling, wanted, days, plant_every
        self._stories = self._planned = self._allotted = self._failures = self._failures_today = 0
        self._due = allotment()
        self._silences: deque[Due] = deque()
        self._owed: dict[tuple[str, bool], Due] = {}
        places = telling.places
        self._origins = len(VEGETABLES) * min(places.counts["farm"], places.districts)
        """Pairs of goods and farms, of different districts: within two days no failing story repeats another's."""
        kinds = ("drug_wholesaler", "wholesale_market")
        stores = [places.node(kind, number) for kind in kinds for number in range(places.counts[kind])]
        self._stores = stores[: wanted // days // (_COLD_SHARE * REPORTS)]

    def events(self) -> Iterator[Json]:
        """The city's events, each day's stories begun as the day begins."""
        timeline = self._telling.timeline
        for day in range(self._days):
            for story in self._day(day):
                timeline.begin(story.stream())
            last = day == self._days - 1
            yield from timeline.until(None if last else (day + 1) * DAY)

    def _day(self, day: int) -> Iterator[Story]:
        quota = self._wanted * (day + 1) // self._days
        self._planned += len(self._stores) * (REPORTS - 5)
        self._failures_today = 0
        while self._planned < quota:
            story = self._story(day)
            self._planned += story.least
            yield story
        for node in self._stores:
            due = self._silences.popleft() if self._silences else None
            yield ColdStore(self._telling, self._next(), day, due, node)

    def _next(self) -> int:
        self._stories += 1
        return self._stories

    def _story(self, day: int) -> Story:
        number = self._next()
        due = self._plant(number, day)
        make = _ORDINARY[number % len(_ORDINARY)]
        if due is None:
            return make(self._telling, number, day, None)
        match due.kind.story:
            case "pork" | "expired":
                return Pork(self._telling, number, day, due)
            case "medicine":
                return Medicine(self._telling, number, day, due)
            case "greens" | "cluster":
                return self._failing_greens(number, day, due)
            case _:
                return (Pork if number % 2 else Greens)(self._telling, number, day, due)

    def _failing_greens(self, number: int, day: int, due: Due) -> Story:
        """Stories with failures have goods and an origin of their own, so that no cluster comes about by chance."""
        origin = None
        if _fails(due):
            farm, goods = divmod(self._failures % self._origins, len(VEGETABLES))
            origin = (goods, farm)
            self._failures += 1
            self._failures_today += 1
        make = Cluster if due.kind.story == "cluster" else Greens
        return make(self._telling, number, day, due, origin)

    def _plant(self, number: int, day: int) -> Due | None:
        """The plant of this story, if it is to have one: the next kind that this day can have."""
        if not self._plant_every:
            return None
        eager = self._allotted < 2 * len(KINDS)
        if number % (min(self._plant_every, EAGER_EVERY) if eager else self._plant_every):
            return None
        for due in self._candidates():
            kind = (due.kind.name, due.anomaly)
            if not self._possible(due, day):
                self._owed[kind] = due
                continue
            self._owed.pop(kind, None)
            if due.kind.story != "cold":
                return due
            self._silences.append(due)
        return None

    def _candidates(self) -> Iterator[Due]:
        """What earlier days could not have, and then what comes next."""
        yield from [*self._owed.values()]
        for _ in range(2 * len(KINDS)):
            due = next(self._due)
            self._allotted = due.number + 1
            yield due

    def _possible(self, due: Due, day: int) -> bool:
        if due.kind.story == "cold":
            return len(self._silences) < len(self._stores)
        if due.kind.name == "unlicensed_party":
            return self._telling.places.lapsing_stall(day - 1 if due.anomaly else day) is not None
        return not _fails(due) or self._failures_today < self._origins // 2


def _fails(due: Due) -> bool:
    return due.kind.name == "failure_cluster" or (due.kind.name == "residue_failed" and due.anomaly)

"""Thermometers: in lorries, and in cold stores every hour. Pure."""

from typing import NamedTuple

from scanners.city.dice import HOUR, MINUTE, hundredths
from scanners.city.plants import Due
from scanners.city.story import PARTY_URN, Story, Telling
from scanners.city.timeline import WAIT, Json, Moment, Stream


class Spell(NamedTuple):
    """What was measured for a while, in tenths of a degree Celsius."""

    begin: int
    end: int
    coldest: int
    warmest: int


def report(story: Story, at: int, node: str, spells: list[Spell], goods: Json) -> Moment:
    """A report read at a node, of the goods and voucher in `goods` if there are any."""
    time = story.telling.calendar.time
    named = ("quantityList", "epcList", "bizTransactionList")
    elements = [
        {
            "sensorMetadata": {"startTime": time(spell.begin), "endTime": time(spell.end)},
            "sensorReport": [{
                "type": "Temperature", "minValue": hundredths(spell.coldest * 10),
                "maxValue": hundredths(spell.warmest * 10), "uom": "CEL",
            }],
        }
        for spell in spells
    ]  # fmt: skip
    fields = {name: goods[name] for name in named if name in goods}
    return story.event(at, node, "sensor_reporting", "in_progress", {**fields, "sensorElementList": elements})


REPORTS = 24


class ColdStore(Story):
    """A cold store's day: a report every hour at the same minute, so that days join without a gap."""

    def __init__(self, telling: Telling, number: int, day: int, due: Due | None, node: str) -> None:
        super().__init__(telling, number, day, due)
        self.node = node
        self.least = REPORTS - 5

    def stream(self) -> Stream:
        begin = self.midnight + int(self.node[-3:]) * 7 % 60 * MINUTE
        silent = range(0)
        anomaly = self.plants("node_silent")
        if anomaly is not None:
            first = self.dice.between(6, 14)
            silent = range(first, first + (5 if anomaly else 1))
        before: Json = {}
        for hour in range(REPORTS):
            if hour in silent:
                continue
            at = begin + hour * HOUR
            yield at, WAIT
            spell = Spell(at - HOUR, at, self.dice.between(8, 24), self.dice.between(26, 48))
            moment = report(self, at, self.node, [spell], {})
            yield moment
            if silent and hour == silent.stop:
                self.planted([before, moment[1]], self.node, f"{PARTY_URN}{self.node}0000")
            before = moment[1]

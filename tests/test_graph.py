"""The picture of a trace: every stop is in it, every arrow is of a record, and thousands of nodes stay a picture."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.gs1 import Key
from ledger.index import Action, Mention, Role
from ledger.trace import Direction, Graph, Item, OpenEnd, Reason, Step
from reports.graph import OPENED_MAX, TOGETHER_OVER, Box, Called, Picture, draw, goods_in, svg

FARM, WHOLESALE, MARKET = 330212001, 330212002, 330212003
LOT = Key("01/06901234500103/10/L1")
CASE = Key("00/106901234500000017")
BEGIN = datetime(2026, 11, 23, 22, tzinfo=UTC)
CALLED = Called(
    {FARM: "农场", WHOLESALE: "批发市场", MARKET: "菜市场"}, {"06901234500103": "白菜"}, ZoneInfo("Asia/Shanghai")
)


def made_of(steps: Iterable[Step], start: Key = LOT, ends: Iterable[OpenEnd] = ()) -> Graph:
    """A trace with these events, its items and levels as a trace would have them."""
    graph = Graph(start, {step.place: step for step in steps}, open_ends=list(ends))
    for step in graph.steps.values():
        for mention in step.mentions:
            if mention.role is not Role.TRANSFORMATION:
                graph.items.setdefault(mention.key, Item(mention.key, 0)).steps[step.place] = None
    return graph


def step(
    node: int, minute: int, word: str, *mentions: tuple[Role, Key], in_error: bool = False, **fields: object
) -> Step:  # fmt: skip
    named = [Mention(role, key, 5, "KGM") for role, key in mentions]
    at = BEGIN + timedelta(minutes=minute)
    event = {"type": "ObjectEvent", "bizStep": word, **fields}
    return Step(node, minute + 1, b"", at, event, True, named, at, Action.OBSERVE, word, in_error)


def sent(node: int, minute: int, key: Key = LOT) -> Step:
    return step(node, minute, "shipping", (Role.OBJECT, key))


def got(node: int, minute: int, key: Key = LOT) -> Step:
    return step(node, minute, "receiving", (Role.OBJECT, key))


def box_of(picture: Picture, key: Key, node: int) -> Box:
    (found,) = (box for box in picture.boxes if (key, node) in box.stops)
    return found


def arrows(picture: Picture) -> set[tuple[str, str]]:
    return {(picture.boxes[begin].label, picture.boxes[end].label) for begin, end in picture.arrows}


def test_a_lot_is_seen_at_each_place_in_the_order_of_its_way() -> None:
    way = [step(FARM, 0, "commissioning", (Role.OBJECT, LOT)), sent(FARM, 1), got(WHOLESALE, 2), sent(WHOLESALE, 3),
           got(MARKET, 4)]  # fmt: skip
    picture = draw(made_of(way), CALLED, frozenset())
    assert [(box.level, box.label) for box in picture.boxes] == [(0, "农场"), (1, "批发市场"), (2, "菜市场")]
    assert arrows(picture) == {("农场", "批发市场"), ("批发市场", "菜市场")}
    assert [box.below for box in picture.boxes] == ["白菜 L1"] * 3 and all(box.start for box in picture.boxes)
    assert picture.boxes[0].note == "11-24 06:00", "the city's time, not the log's"


def test_what_came_back_is_an_arrow_back_and_no_endless_way() -> None:
    way = [sent(FARM, 0), got(MARKET, 1), sent(MARKET, 2), got(FARM, 3)]
    picture = draw(made_of(way), CALLED, frozenset())
    assert [(box.level, box.label) for box in picture.boxes] == [(0, "农场"), (1, "菜市场")]
    assert arrows(picture) == {("农场", "菜市场"), ("菜市场", "农场")}


def test_ends_are_marked_where_they_are() -> None:
    """Sent and not received: where it left; nothing says where from: where it was seen first."""
    ends = [OpenEnd(LOT, Direction.BACKWARD, Reason.NO_ORIGIN, None),
            OpenEnd(LOT, Direction.FORWARD, Reason.NOT_RECEIVED, None)]  # fmt: skip
    picture = draw(made_of([got(WHOLESALE, 0), sent(WHOLESALE, 1), got(MARKET, 2), sent(MARKET, 3)], ends=ends), CALLED,
                   frozenset())  # fmt: skip
    assert box_of(picture, LOT, WHOLESALE).open_end is Reason.NO_ORIGIN
    assert box_of(picture, LOT, MARKET).open_end is Reason.NOT_RECEIVED
    drawn = svg(picture, "x", "/i?", "/c?")
    assert drawn.count('class="box gap"') + drawn.count('class="box start"') == 2
    assert "来源缺失" in drawn and "未收货" in drawn


def test_packs_leave_in_their_case_and_arrive_alone() -> None:
    pack = Key("01/06901234500103/21/S1")
    way = [
        step(FARM, 0, "packing", (Role.PARENT, CASE), (Role.CHILD, pack)), sent(FARM, 1, CASE),
        step(MARKET, 2, "receiving", (Role.OBJECT, pack)),
    ]  # fmt: skip
    picture = draw(made_of(way, pack), CALLED, frozenset())
    at = {id(box): number for number, box in enumerate(picture.boxes)}
    begins = {at[id(box_of(picture, key, FARM))] for key in (CASE, pack)}
    assert {begin for begin, end in picture.arrows if end == at[id(box_of(picture, pack, MARKET))]} <= begins
    assert any(end == at[id(box_of(picture, pack, MARKET))] for _, end in picture.arrows)


def test_events_under_one_transformation_id_are_one_change() -> None:
    """Inputs in one event, outputs in the next: what came of what would be missing."""
    name, soup = Key("urn:x:batch:1"), Key("01/06901234500202/10/S")
    way = [step(FARM, 0, "", (Role.INPUT, LOT), (Role.TRANSFORMATION, name)),
           step(FARM, 1, "", (Role.OUTPUT, soup), (Role.TRANSFORMATION, name))]  # fmt: skip
    picture = draw(made_of(way), CALLED, frozenset())
    assert [box.stops for box in picture.boxes] == [[(LOT, FARM)], [(soup, FARM)]] and picture.arrows == {(0, 1): 1}


def test_what_was_declared_in_error_leads_nowhere() -> None:
    wrong = step(MARKET, 2, "receiving", (Role.OBJECT, LOT), in_error=True)
    picture = draw(made_of([sent(FARM, 0), got(WHOLESALE, 1), wrong]), CALLED, frozenset())
    assert [box.label for box in picture.boxes] == ["农场", "批发市场"]


def markets(count: int) -> list[Step]:
    return [one for at in range(count) for one in (sent(FARM, 2 * at), got(330212100 + at, 2 * at + 1))]


def test_a_column_of_many_is_drawn_together_until_it_is_opened() -> None:
    graph = made_of(markets(TOGETHER_OVER + 300))
    together = draw(graph, CALLED, frozenset())
    assert [len(box.stops) for box in together.boxes] == [1, TOGETHER_OVER + 300]
    assert f"×{len(together.boxes[-1].stops)}" in together.boxes[-1].label and "白菜" in together.boxes[-1].label
    level = together.boxes[-1].level
    opened = draw(graph, CALLED, frozenset([level]))
    assert sum(len(box.stops) == 1 and box.level == level for box in opened.boxes) == OPENED_MAX
    assert sum(len(box.stops) for box in opened.boxes) == TOGETHER_OVER + 301, "the rest stay together"


def test_names_that_would_be_markup_are_text() -> None:
    called = Called({FARM: '<b>"&'}, {}, CALLED.zone)
    drawn = svg(draw(made_of([sent(FARM, 0)]), called, frozenset()), '"><script>', "/i?code=", "/c?open=")
    root = ElementTree.fromstring(drawn)
    assert '<b>"&' in "".join(root.itertext()) and "<script" not in drawn


def test_goods_are_asked_for_by_the_codes_that_items_have() -> None:
    slip, lot = Key("urn:suyuan:trace:33020300100010000042"), Key("urn:suyuan:lot:21113011:33021200126112500001")
    assert goods_in(made_of([sent(FARM, 0), sent(FARM, 1, slip), sent(FARM, 2, lot)])) == {"06901234500103", "21113011"}


keys = st.sampled_from([Key(f"01/06901234500103/10/L{number}") for number in range(4)])
nodes, words = st.sampled_from([FARM, WHOLESALE, MARKET]), st.sampled_from(["shipping", "receiving", "made"])
steps = st.lists(
    st.tuples(nodes, words, keys, keys),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=200)
@given(steps)
def test_every_stop_is_in_one_box_and_every_arrow_joins_two(told: list[tuple[int, str, Key, Key]]) -> None:
    """Whatever circles goods go in, the picture ends, misses nothing and shows nothing twice."""
    way = [
        step(node, minute, word, (Role.INPUT, one), (Role.OUTPUT, other)) if word == "made"
        else step(node, minute, word, (Role.OBJECT, one))
        for minute, (node, word, one, other) in enumerate(told)
    ]  # fmt: skip
    graph = made_of(way)
    picture = draw(graph, CALLED, frozenset())
    stops = [stop for box in picture.boxes for stop in box.stops]
    seen = {(mention.key, one.node) for one in way for mention in one.mentions}
    assert sorted(stops, key=str) == sorted(seen, key=str)
    assert all(begin != end for begin, end in picture.arrows)
    assert {box.level for box in picture.boxes} <= set(range(len(stops)))
    ElementTree.fromstring(svg(picture, "x", "/i?", "/c?"))
    places = {(box.x, box.y) for box in picture.boxes}
    assert len(places) == len(picture.boxes), "no box lies on another"
    assert all(re.fullmatch(r"\d\d-\d\d \d\d:\d\d", box.note) for box in picture.boxes)

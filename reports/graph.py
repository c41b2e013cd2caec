"""A trace as a picture: where goods were, in columns from the first on, and arrows for each move and change. Pure.

A box is a stop: an item at a node. An arrow is a shipment with its receipt, or what an event made of what. What would
be too much to read is drawn together: stops of one column that are of the same goods at the same kind of event become
one box with their number, so that a trace of thousands of nodes stays a picture. The table beside it has every one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from html import escape
from unicodedata import east_asian_width
from urllib.parse import quote

from ledger.balances import goods_of
from ledger.codes import TRACE_URN, node_text
from ledger.fields import in_zone
from ledger.gs1 import Key
from ledger.index import Role
from ledger.trace import FIRST, LAST, Direction, Graph, Reason, Step
from ledger.vocabulary import CHINESE
from reports.movements import movements

TOGETHER_OVER = 12
"""A column with more items than this is drawn together."""
OPENED_MAX = 200
"""Of a column that was opened so many are drawn by themselves, and the rest together: the table has all."""
BOX_W, BOX_H, GAP_X, GAP_Y, PAD = 200, 64, 70, 14, 24
LABEL_UNITS, TEXT_UNITS = 25, 28
"""How much text a box is wide: a Chinese character is two units, others one."""
_NEAR = (Role.INPUT, Role.PARENT)
_FAR = (Role.OUTPUT, Role.CHILD)


Stop = tuple[Key, int | None]
"""An item at a node; None where nothing says where it was."""


@dataclass(slots=True)
class Box:
    """What is drawn as one: a stop, or many of a kind."""

    level: int
    label: str
    below: str
    note: str
    stops: list[Stop]
    open_end: Reason | None = None
    """The worst way in which one of them ends."""
    ends: int = 0
    """How many of them end so."""
    start: bool = False
    x: float = 0
    y: float = 0


@dataclass(slots=True)
class Picture:
    """Boxes and the arrows between them, by number."""

    boxes: list[Box] = field(default_factory=list)
    arrows: dict[tuple[int, int], int] = field(default_factory=dict)
    width: float = 0
    height: float = 0


@dataclass(frozen=True, slots=True)
class _Way:
    """A trace as stops: the events of each, what leads from where to where, and how each ends."""

    graph: Graph
    events: dict[Stop, list[Step]]
    arrows: list[tuple[Stop, Stop]]
    ends: dict[Stop, Reason]
    called: "Called"


@dataclass(frozen=True, slots=True)
class Called:
    """What is called how: nodes by code, goods by what `goods_in` gives; times in the city's zone."""

    nodes: Mapping[int, str]
    goods: Mapping[str, str]
    zone: tzinfo


def draw(graph: Graph, called: Called, opened: frozenset[int]) -> Picture:
    """The picture of a trace; `opened` are the columns that are not to be drawn together."""
    way = _way(graph, called)
    columns: dict[int, list[Stop]] = {}
    for stop, level in _levels(way).items():
        columns.setdefault(level, []).append(stop)
    picture, where = Picture(), dict[Stop, int]()
    for level in sorted(columns):
        stops = sorted(columns[level], key=lambda stop: (_begun(way, stop), stop[0], stop[1] or 0))
        alone = len(stops) if len(stops) <= TOGETHER_OVER else OPENED_MAX if level in opened else 0
        singles = [_single(way, stop, level) for stop in stops[:alone]]
        for box in [*singles, *_together(way, stops[alone:], level)]:
            where |= dict.fromkeys(box.stops, len(picture.boxes))
            picture.boxes.append(box)
    for begin, end in way.arrows:
        pair = where[begin], where[end]
        if pair[0] != pair[1]:
            picture.arrows[pair] = picture.arrows.get(pair, 0) + 1
    _place(picture)
    return picture


def _way(graph: Graph, called: Called) -> _Way:
    events: dict[Stop, list[Step]] = {}
    for item in graph.items.values():
        steps = [graph.steps[place] for place in item.steps if place in graph.steps]
        for step in sorted(steps, key=lambda one: (one.time, one.place)):
            if not step.in_error:
                events.setdefault((item.key, step.node), []).append(step)
    known = {key for key, _ in events}
    events |= {(key, None): [] for key in graph.items if key not in known}
    arrows: list[tuple[Stop, Stop]] = []
    for move in movements(graph):
        if move.sent is not None and move.received is not None:  # it may have been sent in its case
            sent = [(key, move.sent.node) for key in (move.item, *move.sent.items(Role.OBJECT, Role.PARENT))]
            arrows += [(begin, (move.item, move.received.node)) for begin in sent if begin in events][:1]
    for node, near, far in _made(graph):
        arrows += [((one, node), (other, node)) for one in near for other in far]
    arrows = [(begin, end) for begin, end in arrows if begin in events and end in events and begin != end]
    way = _Way(graph, events, list(dict.fromkeys(arrows)), {}, called)
    by_item: dict[Key, list[Stop]] = {}
    for stop in events:
        by_item.setdefault(stop[0], []).append(stop)
    for end in graph.open_ends:
        at = by_item[end.item]
        first, last = min(at, key=lambda one: _begun(way, one)), max(at, key=lambda one: _ended(way, one))
        way.ends[first if end.direction is Direction.BACKWARD else last] = end.reason
    return way


def _made(graph: Graph) -> Iterator[tuple[int, Iterable[Key], Iterable[Key]]]:
    """What was made of what, and where; events under one transformation id at a node are one."""
    together: dict[tuple[int, Key], tuple[dict[Key, None], dict[Key, None]]] = {}
    for step in graph.steps.values():
        if step.in_error:
            continue
        near, far, ids = step.items(*_NEAR), step.items(*_FAR), step.items(Role.TRANSFORMATION)
        if not ids:
            yield step.node, near, far
        for one in ids:
            inputs, outputs = together.setdefault((step.node, one), ({}, {}))
            inputs |= dict.fromkeys(near)
            outputs |= dict.fromkeys(far)
    for (node, _), (inputs, outputs) in together.items():
        yield node, inputs, outputs


def _begun(way: _Way, stop: Stop) -> datetime:
    return way.events[stop][0].time if way.events[stop] else LAST


def _ended(way: _Way, stop: Stop) -> datetime:
    return way.events[stop][-1].time if way.events[stop] else FIRST


def _levels(way: _Way) -> dict[Stop, int]:
    """The column of each stop: one after all that lead to it. What goes back in time, such as goods returned, does not
    count; what nothing leads to stands just before what it leads to."""
    order = sorted(way.events, key=lambda stop: (_begun(way, stop), way.graph.items[stop[0]].level, stop[0]))
    number = {stop: at for at, stop in enumerate(order)}
    onward: dict[Stop, list[Stop]] = {}
    led: set[Stop] = set()
    for begin, end in way.arrows:
        if number[begin] < number[end]:
            onward.setdefault(begin, []).append(end)
            led.add(end)
    levels = dict.fromkeys(order, 0)
    for stop in order:
        for end in onward.get(stop, ()):
            levels[end] = max(levels[end], levels[stop] + 1)
    for stop in order:
        if stop not in led and stop in onward:
            levels[stop] = max(0, min(levels[end] for end in onward[stop]) - 1)
    return levels


def goods_in(graph: Graph) -> set[str]:
    """The codes of goods that its items say they are of."""
    return {code for key in graph.items if (code := goods_of(key))}


def _single(way: _Way, stop: Stop, level: int) -> Box:
    key, node = stop
    events, end = way.events[stop], way.ends.get(stop)
    place = "?" if node is None else way.called.nodes.get(node, node_text(node))
    times = "" if not events else f"{in_zone(events[0].time, way.called.zone):%m-%d %H:%M}"
    kind = way.called.goods.get(goods_of(key), "")
    code = fitted(key.rsplit("/", maxsplit=1)[-1], 12) if kind else _short(key)
    return Box(level, place, f"{kind} {code}".strip(), times, [stop], end, int(end is not None), key == way.graph.start)


def _together(way: _Way, stops: Sequence[Stop], level: int) -> list[Box]:
    """One box for all of a kind that ended with the same step."""
    kinds: dict[tuple[str, str], list[Stop]] = {}
    for stop in stops:
        events = way.events[stop]
        step = (events[-1].business_step or "") if events else ""
        kinds.setdefault((way.called.goods.get(goods_of(stop[0])) or _kind(stop[0]), step), []).append(stop)
    boxes = []
    for (kind, step), some in sorted(kinds.items()):
        found = [way.ends[one] for one in some if one in way.ends]
        worst = min(found, key=[*REASON_MARKS].index, default=None)
        nodes = {node for _, node in some if node is not None}
        places = way.called.nodes.get(next(iter(nodes)), "") if len(nodes) == 1 else f"{len(nodes)} 个节点 nodes"
        boxes.append(
            Box(level, f"{kind} ×{len(some)}", places, f"{CHINESE.get(step, '')} {step}".strip(), some, worst,
                found.count(worst) if worst else 0, any(key == way.graph.start for key, _ in some))
        )  # fmt: skip
    return boxes


def _kind(key: str) -> str:
    """What an item is one of, for drawing together."""
    if key.startswith(TRACE_URN):
        return "小票 slips"
    if key.startswith("urn:suyuan:"):
        return key.split(":")[2]
    return f"GTIN …{key[11:17]}" if key.startswith("01/") else key.split("/", maxsplit=1)[0]


def _short(key: str) -> str:
    text = key.removeprefix("urn:suyuan:")
    return text if len(text) <= LABEL_UNITS else f"{text[:8]}…{text[-(LABEL_UNITS - 9) :]}"


def fitted(text: str, units: int) -> str:
    """As much of a text as so many units hold; what is cut ends with an ellipsis.

    >>> fitted("11-26 05:58 江北万达广场药店", 20)
    '11-26 05:58 江北万…'
    """
    wide = [2 if east_asian_width(one) in "WF" else 1 for one in text]
    if sum(wide) <= units:
        return text
    room, kept = units - 1, 0
    while kept < len(text) and wide[kept] <= room:
        room, kept = room - wide[kept], kept + 1
    return text[:kept] + "…"


def _place(picture: Picture) -> None:
    """Columns side by side, each in the middle of the tallest."""
    columns: dict[int, list[Box]] = {}
    for box in picture.boxes:
        columns.setdefault(box.level, []).append(box)
    tallest = max((len(boxes) for boxes in columns.values()), default=0)
    for number, level in enumerate(sorted(columns)):
        boxes = columns[level]
        top = PAD + (tallest - len(boxes)) * (BOX_H + GAP_Y) / 2
        for at, box in enumerate(boxes):
            box.x, box.y = PAD + number * (BOX_W + GAP_X), top + at * (BOX_H + GAP_Y)
    picture.width = 2 * PAD + len(columns) * (BOX_W + GAP_X) - GAP_X
    picture.height = 2 * PAD + tallest * (BOX_H + GAP_Y)


GAPS = (Reason.NO_ORIGIN, Reason.NOT_RECEIVED)
REASON_MARKS = {
    Reason.NO_ORIGIN: "来源缺失 no origin", Reason.NOT_RECEIVED: "未收货 not received", Reason.HELD: "在库 held",
    Reason.LIMIT: "未展开 cut",
}  # fmt: skip


def svg(picture: Picture, title: str, item: str, column: str) -> str:
    """The picture; a box of one leads to `item` with its code, a box of many to `column` with the number of its own."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{picture.width:.0f}" height="{picture.height:.0f}" '
        f'viewBox="0 0 {picture.width:.0f} {picture.height:.0f}" role="group" aria-label="{escape(title, quote=True)}" '
        f'class="graph"><defs><clipPath id="inside"><rect width="{BOX_W - 8}" height="{BOX_H}"/></clipPath>'
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0l8 4-8 4z" fill="#57606a"/></marker></defs>'
    ]
    parts += [_arrow(picture, begin, end, count) for (begin, end), count in sorted(picture.arrows.items())]
    parts += [_box(box, item, column) for box in picture.boxes]
    return "".join([*parts, "</svg>"])


def _arrow(picture: Picture, begin: int, end: int, count: int) -> str:
    one, other = picture.boxes[begin], picture.boxes[end]
    x1, y1, x2, y2 = one.x + BOX_W, one.y + BOX_H / 2, other.x, other.y + BOX_H / 2
    middle = (x1 + x2) / 2
    width = min(5.0, 1 + count**0.5 / 4)
    return (
        f'<path d="M{x1:.0f} {y1:.0f}C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}" fill="none" '
        f'stroke="#8c959f" stroke-width="{width:.1f}" marker-end="url(#tip)"/>'
    )


def _box(box: Box, item: str, column: str) -> str:
    mark = REASON_MARKS[box.open_end] if box.open_end else box.note
    if box.ends > 1:
        mark += f" ×{box.ends}"
    kind = "start" if box.start else "gap" if box.open_end in GAPS else "plain"
    to = f"{item}{quote(box.stops[0][0], safe='')}" if len(box.stops) == 1 else f"{column}{box.level}"
    return (
        f'<a href="{escape(to, quote=True)}"><g class="box {kind}" transform="translate({box.x:.0f} {box.y:.0f})">'
        f'<rect width="{BOX_W}" height="{BOX_H}" rx="8"/><g clip-path="url(#inside)">'
        f'<text x="10" y="22" class="label">{escape(fitted(box.label, LABEL_UNITS))}</text>'
        f'<text x="10" y="40">{escape(fitted(box.below, TEXT_UNITS))}</text>'
        f'<text x="10" y="56" class="mark">{escape(mark)}</text></g>'
        f"<title>{escape(' '.join([box.label, box.below, mark, *(key for key, _ in box.stops[:5])]))}</title></g></a>"
    )


def nodes_in(graph: Graph) -> Iterable[int]:
    """The nodes that its events happened at."""
    return sorted({step.node for step in graph.steps.values()})

"""A trace as a picture: columns of steps from the code asked for, arrows between what became what. Pure.

What would be too much to read is drawn together: items of one column that are of the same goods at the same kind of
event become one box with their number, so that a trace of thousands of nodes stays a picture. The table beside it has
every one of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from unicodedata import east_asian_width
from urllib.parse import quote

from ledger.codes import TRACE_URN, node_text
from ledger.gs1 import Key
from ledger.index import Role
from ledger.trace import Graph, Item, Reason, Step

TOGETHER_OVER = 12
"""A column with more items than this is drawn together."""
OPENED_MAX = 200
"""Of a column that was opened so many are drawn by themselves, and the rest together: the table has all."""
BOX_W, BOX_H, GAP_X, GAP_Y, PAD = 200, 64, 70, 14, 24
LABEL_UNITS, TEXT_UNITS = 25, 28
"""How much text a box is wide: a Chinese character is two units, others one."""
_NEAR = (Role.INPUT, Role.PARENT)
_FAR = (Role.OUTPUT, Role.CHILD)


@dataclass(slots=True)
class Box:
    """What is drawn as one: an item, or many of a kind."""

    level: int
    label: str
    below: str
    items: list[str]
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


def draw(graph: Graph, names: dict[int, str], opened: frozenset[int]) -> Picture:
    """The picture of a trace; `names` are those of nodes, `opened` the columns that are not to be drawn together."""
    ends = {end.item: end.reason for end in graph.open_ends}
    columns: dict[int, list[Item]] = {}
    for item in graph.items.values():
        columns.setdefault(item.level, []).append(item)
    picture, where = Picture(), dict[str, int]()
    for level in sorted(columns):
        items = sorted(columns[level], key=lambda one: one.key)
        alone = len(items) if len(items) <= TOGETHER_OVER else OPENED_MAX if level in opened else 0
        singles = [_single(graph, item, names, ends) for item in items[:alone]]
        for box in [*singles, *_together(graph, items[alone:], level, ends)]:
            where |= dict.fromkeys(box.items, len(picture.boxes))
            picture.boxes.append(box)
    for step in graph.steps.values():
        if not step.in_error:
            _arrows(picture, step, where)
    _place(picture)
    return picture


def _single(graph: Graph, item: Item, names: dict[int, str], ends: dict[Key, Reason]) -> Box:
    end = ends.get(item.key)
    return Box(
        item.level, _short(item.key), _place_of(graph, item, names), [item.key], end, int(end is not None),
        item.key == graph.start,
    )  # fmt: skip


def _together(graph: Graph, items: Sequence[Item], level: int, ends: dict[Key, Reason]) -> list[Box]:
    """One box for all of a kind that ended with the same step."""
    kinds: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        kinds.setdefault((_kind(item.key), _last_step(graph, item)), []).append(item)
    boxes = []
    for (kind, step), some in sorted(kinds.items()):
        found = [ends[one.key] for one in some if one.key in ends]
        worst = min(found, key=[*REASON_MARKS].index, default=None)
        boxes.append(
            Box(level, f"{kind} ×{len(some)}", step, [one.key for one in some], worst,
                found.count(worst) if worst else 0, any(one.key == graph.start for one in some))
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


def _last(graph: Graph, item: Item) -> Step | None:
    steps = [graph.steps[place] for place in item.steps if place in graph.steps]
    return max(steps, key=lambda step: (step.time, step.place), default=None)


def _last_step(graph: Graph, item: Item) -> str:
    step = _last(graph, item)
    return "" if step is None else step.business_step or ""


def _place_of(graph: Graph, item: Item, names: dict[int, str]) -> str:
    step = _last(graph, item)
    if step is None:
        return ""
    return f"{step.time:%m-%d %H:%M} {names.get(step.node, node_text(step.node))}"


def _arrows(picture: Picture, step: Step, where: dict[str, int]) -> None:
    near = {where[key] for key in step.items(*_NEAR) if key in where}
    far = {where[key] for key in step.items(*_FAR) if key in where}
    for begin in near:
        for end in far - {begin}:
            picture.arrows[begin, end] = picture.arrows.get((begin, end), 0) + 1


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
    mark = REASON_MARKS[box.open_end] if box.open_end else ""
    if box.ends > 1:
        mark += f" ×{box.ends}"
    kind = "start" if box.start else "gap" if box.open_end in GAPS else "plain"
    to = f"{item}{quote(box.items[0], safe='')}" if len(box.items) == 1 else f"{column}{box.level}"
    return (
        f'<a href="{escape(to, quote=True)}"><g class="box {kind}" transform="translate({box.x:.0f} {box.y:.0f})">'
        f'<rect width="{BOX_W}" height="{BOX_H}" rx="8"/><g clip-path="url(#inside)">'
        f'<text x="10" y="22" class="label">{escape(fitted(box.label, LABEL_UNITS))}</text>'
        f'<text x="10" y="40">{escape(fitted(box.below, TEXT_UNITS))}</text>'
        f'<text x="10" y="56" class="mark">{escape(mark)}</text></g>'
        f"<title>{escape(' '.join([box.label, box.below, mark, *box.items[:5]]))}</title></g></a>"
    )


def nodes_in(graph: Graph) -> Iterable[int]:
    """The nodes that its events happened at."""
    return sorted({step.node for step in graph.steps.values()})

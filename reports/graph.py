"""A trace as a picture: columns of steps from the code asked for, arrows between what became what. Pure.

What would be too much to read is drawn together: items of one column that are of the same goods at the same kind of
event become one box with their number, so that a trace of thousands of nodes stays a picture. The table beside it has
every one of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

from ledger.codes import TRACE_URN, node_text
from ledger.gs1 import Key
from ledger.index import Role
from ledger.trace import Graph, Item, Reason, Step

TOGETHER_OVER = 12
"""A column with more items than this is drawn together."""
BOX_W, BOX_H, GAP_X, GAP_Y, PAD = 190, 64, 70, 14, 24
_NEAR = (Role.INPUT, Role.PARENT)
_FAR = (Role.OUTPUT, Role.CHILD)


@dataclass(slots=True)
class Box:
    """What is drawn as one: an item, or many of a kind."""

    level: int
    label: str
    below: str
    items: list[str]
    open_end: str | None = None
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
        together = len(items) > TOGETHER_OVER and level not in opened
        for box in _boxes(graph, items, level, names, ends, together=together):
            where |= dict.fromkeys(box.items, len(picture.boxes))
            picture.boxes.append(box)
    for step in graph.steps.values():
        if not step.in_error:
            _arrows(picture, step, where)
    _place(picture)
    return picture


def _boxes(
    graph: Graph, items: Sequence[Item], level: int, names: dict[int, str], ends: dict[Key, Reason], *, together: bool
) -> list[Box]:  # fmt: skip
    if not together:
        return [
            Box(level, _short(item.key), _place_of(graph, item, names), [item.key],
                ends.get(item.key), item.key == graph.start)
            for item in items
        ]  # fmt: skip
    kinds: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        kinds.setdefault((_kind(item.key), _last_step(graph, item)), []).append(item)
    return [
        Box(level, f"{kind} ×{len(some)}", step, [one.key for one in some],
            next((ends[one.key] for one in some if one.key in ends), None), any(i.key == graph.start for i in some))
        for (kind, step), some in sorted(kinds.items())
    ]  # fmt: skip


def _kind(key: str) -> str:
    """What an item is one of, for drawing together."""
    if key.startswith(TRACE_URN):
        return "小票 slips"
    if key.startswith("urn:suyuan:"):
        return key.split(":")[2]
    return f"GTIN …{key[11:17]}" if key.startswith("01/") else key.split("/", maxsplit=1)[0]


def _short(key: str) -> str:
    text = key.removeprefix("urn:suyuan:")
    return text if len(text) <= 24 else f"{text[:8]}…{text[-14:]}"


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


REASON_MARKS = {
    Reason.NO_ORIGIN: "来源缺失 no origin", Reason.NOT_RECEIVED: "未收货 not received", Reason.HELD: "在库 held",
    Reason.LIMIT: "未展开 cut",
}  # fmt: skip


def svg(picture: Picture, title: str, link: str) -> str:
    """The picture; each box leads to `link` with its code, or to its column opened."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{picture.width:.0f}" height="{picture.height:.0f}" '
        f'viewBox="0 0 {picture.width:.0f} {picture.height:.0f}" role="img" aria-label="{escape(title, quote=True)}" '
        'class="graph"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0l8 4-8 4z" fill="#57606a"/></marker></defs>'
    ]
    parts += [_arrow(picture, begin, end, count) for (begin, end), count in sorted(picture.arrows.items())]
    parts += [_box(box, link) for box in picture.boxes]
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


def _box(box: Box, link: str) -> str:
    mark = REASON_MARKS[Reason(box.open_end)] if box.open_end else ""
    kind = "start" if box.start else "gap" if box.open_end in (Reason.NO_ORIGIN, Reason.NOT_RECEIVED) else "plain"
    to = f"{link}{quote(box.items[0], safe='')}" if len(box.items) == 1 else f"?open={box.level}"
    x, y = box.x + 10, box.y
    return (
        f'<a href="{escape(to, quote=True)}"><g class="box {kind}">'
        f'<rect x="{box.x:.0f}" y="{y:.0f}" width="{BOX_W}" height="{BOX_H}" rx="8"/>'
        f'<text x="{x:.0f}" y="{y + 22:.0f}" class="label">{escape(box.label)}</text>'
        f'<text x="{x:.0f}" y="{y + 40:.0f}">{escape(box.below[:26])}</text>'
        f'<text x="{x:.0f}" y="{y + 56:.0f}" class="mark">{escape(mark)}</text>'
        f"<title>{escape(' '.join(box.items[:5]))}</title></g></a>"
    )


def nodes_in(graph: Graph) -> Iterable[int]:
    """The nodes that its events happened at."""
    return sorted({step.node for step in graph.steps.values()})

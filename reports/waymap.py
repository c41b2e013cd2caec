"""A picture of a way: places from the farm at the top to the counter below, arrows between them with their days.

SVG for a page 340 units wide, so that it reads on a phone; whoever does not see it has the same in words beside it.
Colours and sizes are classes, since pages allow no styles inside. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, GAP, BOX_HIGH, ARROW_HIGH, ROW_GAP = 340, 10, 54, 46, 10
SPOTS_MAX = 24
_LATIN = 0.56
"""How wide a Latin letter is beside a Chinese one."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place: what kind it is, in one sign and in words, and its name. `last`: where the code was given out."""

    site: str
    sign: str
    kind: str
    name: str
    last: bool = False


Links = Mapping[tuple[str, str], str]
"""From which place to which, and the day."""


def layers(spots: Sequence[Spot], links: Links) -> list[list[Spot]]:
    """Places by how many deliveries lie behind them, those farthest from the counter first."""
    depth = {spot.site: 0 for spot in spots if spot.last} or {spots[-1].site: 0}
    edge = list(depth)
    while edge:
        edge = [giver for giver, taker in links if taker in edge and giver not in depth]
        depth |= {site: max(depth.values()) + 1 for site in edge}
    most = max(depth.values())
    found: dict[int, list[Spot]] = {}
    for spot in spots:
        found.setdefault(depth.get(spot.site, most), []).append(spot)
    return [found[level] for level in sorted(found, reverse=True)]


def way_map(spots: Sequence[Spot], links: Links, label: str) -> str:
    """The picture; empty where there is nothing to draw."""
    spots = spots[-SPOTS_MAX:]
    if not spots:
        return ""
    at: dict[str, tuple[float, float, float]] = {}
    boxes: list[str] = []
    y = 4.0
    for layer in layers(spots, links):
        for row in (layer[i : i + 2] for i in range(0, len(layer), 2)):
            wide = (WIDTH - 8 - GAP * (len(row) - 1)) / len(row)
            for number, spot in enumerate(row):
                x = 4 + number * (wide + GAP)
                at[spot.site] = (x + wide / 2, y, y + BOX_HIGH)
                boxes.append(_box(spot, x, y, wide))
            y += BOX_HIGH + ROW_GAP
        y += ARROW_HIGH - ROW_GAP
    high = y - ARROW_HIGH + 4
    arrows = [_arrow(at[giver], at[taker], day) for (giver, taker), day in links.items() if {giver, taker} <= at.keys()]
    return (
        f'<svg class="way" viewBox="0 0 {WIDTH} {high:.0f}" role="img" aria-label="{escape(label, quote=True)}">'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L10 5L0 10z" class="tip"/></marker></defs>{"".join(arrows + boxes)}</svg>'
    )


def _box(spot: Spot, x: float, y: float, wide: float) -> str:
    room = wide - 54
    return (
        f'<g class="spot{" last" if spot.last else ""}"><title>{escape(spot.kind)} {escape(spot.name)}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{BOX_HIGH}" rx="9"/>'
        f'<circle cx="{x + 26:.1f}" cy="{y + BOX_HIGH / 2:.1f}" r="17"/>'
        f'<text class="sign" x="{x + 26:.1f}" y="{y + BOX_HIGH / 2 + 6:.1f}">{escape(spot.sign)}</text>'
        f'<text class="name" x="{x + 50:.1f}" y="{y + 24:.1f}">{escape(_fitted(spot.name, room, 14))}</text>'
        f'<text class="kind" x="{x + 50:.1f}" y="{y + 42:.1f}">{escape(_fitted(spot.kind, room, 12))}</text></g>'
    )


def _arrow(giver: tuple[float, float, float], taker: tuple[float, float, float], day: str) -> str:
    """Down from the giver to the taker; what goes back up to an earlier layer is drawn at the side."""
    x1, _, y1 = giver
    x2, y2, low = taker
    side, anchor = (-7, "end") if x2 > x1 + 1 else (8, "start")
    if y2 > y1:
        middle = (y1 + y2) / 2
        path = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2 - 2:.1f}"
        text = (x1 + side, y1 + 16 if x1 != x2 else middle + 4)
    else:
        path = f"M{x1:.1f} {giver[1]:.1f}C{WIDTH} {giver[1]:.1f} {WIDTH} {low:.1f} {x2:.1f} {low:.1f}"
        text, anchor = (WIDTH - 4, (giver[1] + low) / 2), "end"
    return (
        f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>'
        f'<text class="day" text-anchor="{anchor}" x="{text[0]:.1f}" y="{text[1]:.1f}">{escape(day)}</text>'
    )


def _fitted(text: str, room: float, size: float) -> str:
    """As much of a text as there is room for."""
    wide = 0.0
    for number, character in enumerate(text):
        wide += size * (_LATIN if ord(character) < 0x2E80 else 1)
        if wide > room and number:
            return text[: max(1, number - 1)] + "…"
    return text

"""Charts as SVG: bars side by side, or lines; readable without colour by their legend's order and titles. Pure."""

from html import escape

from reports.document import Chart, Language, shown

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 240, 48, 40
COLOURS = ("#00539c", "#c85a00", "#00785a", "#783c8c")


def svg_chart(chart: Chart, language: Language) -> str:
    """The chart; its title and values are there for those who do not see it."""
    most = max((value for one in chart.series for value in one.values), default=0) or 1
    slot = (WIDTH - LEFT) / max(1, len(chart.labels))
    tall = HEIGHT - BOTTOM - 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(chart.title.in_(language), quote=True)}" font-family="sans-serif" font-size="11">',
        f'<line x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH}" y2="{HEIGHT - BOTTOM}" stroke="#777"/>',
        f'<text x="0" y="34">{escape(shown(float(most)))}</text>'
        f'<text x="0" y="{HEIGHT - BOTTOM}">0 {escape(chart.unit.in_(language))}</text>',
    ]
    for number, one in enumerate(chart.series):
        parts += _series(chart, number, slot, [tall * value / most for value in one.values], language)
    every = max(1, -(-len(chart.labels) // 16))
    parts += [
        f'<text x="{LEFT + slot * at:.1f}" y="{HEIGHT - BOTTOM + 14}">{escape(label)}</text>'
        for at, label in enumerate(chart.labels) if at % every == 0
    ]  # fmt: skip
    return "".join([*parts, "</svg>"])


def _series(chart: Chart, number: int, slot: float, heights: list[float], language: Language) -> list[str]:
    one, colour, ground = chart.series[number], COLOURS[number % len(COLOURS)], HEIGHT - BOTTOM
    name = escape(one.name.in_(language))
    legend = (
        f'<rect x="{LEFT + 150 * number}" y="4" width="10" height="10" fill="{colour}"/>'
        f'<text x="{LEFT + 150 * number + 14}" y="13">{name}</text>'
    )
    if chart.lines:
        points = " ".join(f"{LEFT + slot * (at + 0.5):.1f},{ground - high:.1f}" for at, high in enumerate(heights))
        return [legend, f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>']
    bar = slot * 0.7 / len(chart.series)
    return [legend] + [
        f'<rect x="{LEFT + slot * at + slot * 0.15 + bar * number:.1f}" y="{ground - high:.1f}" width="{bar:.1f}" '
        f'height="{high:.1f}" fill="{colour}"><title>{escape(chart.labels[at])} {name}: '
        f"{escape(shown(float(one.values[at])))}</title></rect>"
        for at, high in enumerate(heights)
    ]

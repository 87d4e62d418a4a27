"""A chart of grouped bars, as SVG."""

import dataclasses
import math
import pathlib
from xml.sax.saxutils import escape

#: Colours of the engines in turn, the first one's strongest.
COLOURS = ["#c8442b", "#5b7f95", "#8fb0a9", "#c9b27c", "#9a8fb8"]
FONT = "font-family='Helvetica, Arial, sans-serif'"
BAR, GAP, MARGIN, TITLE, LEGEND, PANEL = 17, 22, 24, 66, 34, 400
LABEL = 74  # right of the longest bar


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar: where it stands, whose it is, how long it is, what is written at its end."""

    panel: str
    group: str
    engine: str
    value: float
    label: str


def draw(path: pathlib.Path, title: str, subtitle: str, axis: str, bars: list[Bar]):
    """Draws panels side by side with a scale in common; the longest bar of each group has a bold label."""
    panels = list(dict.fromkeys(bar.panel for bar in bars))
    groups = list(dict.fromkeys(bar.group for bar in bars))
    engines = list(dict.fromkeys(bar.engine for bar in bars))
    colour = dict(zip(engines, COLOURS))
    names = max(map(len, groups)) * 7 + 12  # width of the groups' names
    top = TITLE + LEGEND + 26
    heights = {group: BAR * len({bar.engine for bar in bars if bar.group == group}) for group in groups}
    starts, bottom = {}, top
    for group in groups:
        starts[group] = bottom + GAP / 2
        bottom += heights[group] + GAP
    heading = 2 * MARGIN + max(10 * len(title), 7 * len(subtitle))
    width = max(MARGIN + names + (PANEL + MARGIN) * len(panels), heading)
    height = bottom + 62
    step = tick_step(max(bar.value for bar in bars))
    end = math.ceil(max(bar.value for bar in bars) / step) * step
    scale = (PANEL - LABEL) / end
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}' {FONT} font-size='12' fill='#333'>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
    ]

    def text(x: float, y: float, content: str, **style):
        attributes = "".join(f" {name.replace('_', '-')}='{value}'" for name, value in style.items())
        parts.append(f"<text x='{x:.1f}' y='{y:.1f}'{attributes}>{escape(content)}</text>")

    text(MARGIN, 30, title, font_size=17, font_weight="bold", fill="#111")
    text(MARGIN, 51, subtitle, fill="#666")
    x = MARGIN
    for engine in engines:
        parts.append(f"<rect x='{x}' y='{TITLE + 5}' width='12' height='12' fill='{colour[engine]}'/>")
        text(x + 18, TITLE + 15, engine)
        x += 18 + 7 * len(engine) + 26
    for group in groups:
        text(MARGIN + names - 12, starts[group] + heights[group] / 2 + 4, group, text_anchor="end")

    for column, panel in enumerate(panels):
        left = MARGIN + names + (PANEL + MARGIN) * column
        text(left, top - 8, panel, font_weight="bold")
        for tick in range(round(end / step) + 1):
            x = left + tick * step * scale
            shade = "#e4e4e4" if tick else "#888"
            parts.append(f"<line x1='{x:.1f}' y1='{top}' x2='{x:.1f}' y2='{bottom}' stroke='{shade}'/>")
            text(x, bottom + 17, f"{tick * step:g}", text_anchor="middle", fill="#666")
        text(left + end * scale / 2, bottom + 38, axis, text_anchor="middle", fill="#666")
        for group in groups:
            y = starts[group]
            members = [bar for bar in bars if (bar.panel, bar.group) == (panel, group)]
            longest = max((bar.value for bar in members), default=0)
            for bar in members:
                length = bar.value * scale
                parts.append(f"<rect x='{left}' y='{y:.1f}' width='{length:.1f}' height='{BAR - 2}' "
                             f"fill='{colour[bar.engine]}'/>")
                style = {"font_weight": "bold", "fill": "#111"} if bar.value == longest else {"fill": "#666"}
                halo = {"paint_order": "stroke", "stroke": "white", "stroke_width": 3}  # over the lines of the scale
                text(left + length + 5, y + BAR - 6, bar.label, font_size=11, **halo, **style)
                y += BAR
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def tick_step(end: float) -> float:
    """The round distance of at most six marks between 0 and `end`."""
    power = 10 ** math.floor(math.log10(end / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * 6 >= end)

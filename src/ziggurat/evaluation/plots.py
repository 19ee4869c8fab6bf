"""Small plots as inline SVG: no library, no script, readable in light and dark and when printed.

Colours are CSS variables of the page (`--s0` … `--s5`, `--ink`, `--grid`), so a plot follows its page's theme; every
series is also named by a label at its end or in a legend, never by colour alone. Long series are thinned to
POINTS_SHOWN points, keeping the smallest and largest of every stretch, so that spikes stay visible.
Left out: interaction.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 38
POINTS_SHOWN = 400


@dataclass(frozen=True)
class Series:
    """A named line; points that are not finite are gaps."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


def line_plot(series: Sequence[Series], *, title: str, x_label: str = "step", y_label: str = "") -> str:
    """Lines over a common x, as one <figure>; empty text when there is no point to draw."""
    drawn = [(s.name, _thin(_points(s))) for s in series]
    points = [p for _, ps in drawn for p in ps]
    if not points:
        return ""
    scale = _Scale.around([x for x, _ in points], [y for _, y in points])
    parts = [_axes(scale, x_label, y_label)]
    for i, (name, ps) in enumerate(drawn):
        if not ps:
            continue
        colour = f"var(--s{i % 6})"
        path = " ".join(f"{scale.px(x):.1f},{scale.py(y):.1f}" for x, y in ps)
        label = html.escape(f"{name}: last {ps[-1][1]:.4g}")
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6">'
            f"<title>{label}</title></polyline>"
        )
        if len(ps) == 1:
            parts.append(
                f'<circle cx="{scale.px(ps[0][0]):.1f}" cy="{scale.py(ps[0][1]):.1f}" r="3" fill="{colour}"/>'
            )
    return _figure("".join(parts), title, [name for name, ps in drawn if ps])


def bar_plot(
    names: Sequence[str],
    groups: dict[str, Sequence[float | None]],
    *,
    title: str,
) -> str:
    """Bars side by side: `groups` name -> a value for each of `names`."""
    values = [v for vs in groups.values() for v in vs if v is not None and math.isfinite(v)]
    if not values or not names:
        return ""
    scale = _Scale.around([0.0, float(len(names))], [0.0, *values])
    parts = [_axes(scale, "", "", x_ticks=False)]
    step = (WIDTH - LEFT - RIGHT) / len(names)
    width = step * 0.8 / max(1, len(groups))
    for g, (group, vs) in enumerate(groups.items()):
        for i, value in enumerate(vs):
            if value is None or not math.isfinite(value):
                continue
            x = LEFT + i * step + step * 0.1 + g * width
            top, base = scale.py(max(value, 0.0)), scale.py(min(value, 0.0))
            tip = html.escape(f"{names[i]}, {group}: {value:.4g}")
            parts.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{width * 0.92:.1f}" height="{max(base - top, 0.5):.1f}" '
                f'fill="var(--s{g % 6})"><title>{tip}</title></rect>'
            )
    for i, name in enumerate(names):
        parts.append(_text(LEFT + (i + 0.5) * step, HEIGHT - BOTTOM + 15, name, "middle"))
    return _figure("".join(parts), title, list(groups) if len(groups) > 1 else [])


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers within [low, high], about `wanted` of them: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class _Scale:
    x0: float
    x1: float
    y0: float
    y1: float

    @classmethod
    def around(cls, xs: Sequence[float], ys: Sequence[float]) -> _Scale:
        y0, y1 = min(ys), max(ys)
        pad = (y1 - y0) * 0.06 or abs(y1) * 0.05 or 1.0
        bottom = y0 if y0 == 0 else y0 - pad
        x0, x1 = min(xs), max(xs)
        return cls(x0, x1 if x1 > x0 else x0 + 1.0, bottom, y1 + pad)

    def px(self, x: float) -> float:
        return LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def py(self, y: float) -> float:
        return HEIGHT - BOTTOM - (y - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def _points(series: Series) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for x, y in zip(series.x, series.y, strict=True)
        if y is not None and math.isfinite(y)
    ]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most POINTS_SHOWN: the lowest and highest of each stretch, in order, and the two ends."""
    if len(points) <= POINTS_SHOWN:
        return points
    size = math.ceil(len(points) / (POINTS_SHOWN // 2))
    kept = {0, len(points) - 1}
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def _axes(scale: _Scale, x_label: str, y_label: str, *, x_ticks: bool = True) -> str:
    parts = []
    y_ticks = ticks(scale.y0, scale.y1)
    for t in y_ticks:
        y = scale.py(t)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--grid)"/>'
        )
        parts.append(_text(LEFT - 6, y + 4, _number(t, y_ticks), "end"))
    if x_ticks:
        x_ticks_at = ticks(scale.x0, scale.x1)
        for t in x_ticks_at:
            parts.append(_text(scale.px(t), HEIGHT - BOTTOM + 15, _number(t, x_ticks_at), "middle"))
    base = HEIGHT - BOTTOM
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}" stroke="var(--ink)" stroke-width="0.8"/>'
    )
    if x_label:
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle"))
    if y_label:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
            f"{html.escape(y_label)}</text>"
        )
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _number(value: float, all_ticks: Sequence[float]) -> str:
    """Short, but long enough that neighbouring ticks read differently: 3.8158 beside 3.8160."""
    for digits in range(4, 12):
        if len({f"{t:.{digits}g}" for t in all_ticks}) == len(set(all_ticks)):
            break
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.{digits}g}M"
    if size >= 1e4:
        return f"{value / 1e3:.{digits}g}K"
    return f"{value:.{digits}g}"


def _figure(inner: str, title: str, legend: Sequence[str]) -> str:
    keys = "".join(
        f'<span class="key"><i style="background:var(--s{i % 6})"></i>{html.escape(name)}</span>'
        for i, name in enumerate(legend)
    )
    note = f'<div class="legend">{keys}</div>' if len(legend) > 1 else ""
    label = html.escape(title, quote=True)
    return (
        f'<figure class="plot"><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{inner}</svg>{note}</figure>'
    )

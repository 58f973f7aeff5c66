"""An SVG of how late the k-th follower hears of an order: a panel for each number of followers, a line a system."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

Point = tuple[int, float]

COLOURS = {"floor": "#6b7280", "ours": "#0f6fde", "engine": "#8a5cd1", "textbook": "#d9480f"}
_INK, _FAINT, _GRID = "#1f2937", "#6b7280", "#e5e7eb"
_WIDTH, _HEAD, _PANEL_H, _FOOT = 1_000, 104, 330, 16
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 78, 40, 54
_MIN_GAP = 13


@dataclass(frozen=True, slots=True)
class Line:
    """Points (k, seconds after the POST), k rising. `name` is a key of COLOURS."""

    name: str
    label: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Panel:
    """`levels` are systems that have one time only: name, label, seconds."""

    followers: int
    lines: Sequence[Line]
    levels: Sequence[tuple[str, str, float]] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Frame:
    """A panel's plot area in pixels, and what it shows: k linear from 1, seconds logarithmic over whole decades."""

    x: float
    y: float
    width: float
    height: float
    most: int
    decades: tuple[int, int]

    def across(self, k: int) -> float:
        return self.x + self.width * ((k - 1) / (self.most - 1) if self.most > 1 else 0.5)

    def up(self, seconds: float) -> float:
        low, high = self.decades
        share = (math.log10(max(seconds, 10.0**low)) - low) / (high - low)
        return self.y + self.height * (1 - share)


def render(panels: Sequence[Panel], subtitle: str) -> str:
    """The whole picture. Raises ValueError when there is nothing to draw."""
    if not panels:
        raise ValueError("no panels to draw")
    decades = _decades(panels)
    columns = min(2, len(panels))
    height = _HEAD + _PANEL_H * math.ceil(len(panels) / columns) + _FOOT
    width = _WIDTH / columns
    fonts = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="{fonts}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(24, 32, "When the k-th follower hears of an order", size=19, weight=600),
        _text(24, 53, subtitle, fill=_FAINT, size=12.5),
        *_legend(panels),
    ]
    for number, panel in enumerate(panels):
        left, top = width * (number % columns), _HEAD + _PANEL_H * (number // columns)
        frame = Frame(
            left + _LEFT, top + _TOP, width - _LEFT - _RIGHT, _PANEL_H - _TOP - _BOTTOM, panel.followers, decades
        )
        parts += _panel(panel, frame)
    return "\n".join([*parts, "</svg>", ""])


def duration(seconds: float) -> str:
    """Three digits at most, in the unit that people say."""
    if seconds < 0.9995:
        return f"{seconds * 1_000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:,.0f} s"


def _decades(panels: Sequence[Panel]) -> tuple[int, int]:
    """The same for all panels, so that heights can be compared from one to the next."""
    times = [t for panel in panels for line in panel.lines for _, t in line.points]
    times += [t for panel in panels for _, _, t in panel.levels]
    low = math.floor(math.log10(max(1e-4, min(times, default=0.01))))
    return low, max(low + 1, math.ceil(math.log10(max(times, default=1.0))))


def _legend(panels: Sequence[Panel]) -> Iterable[str]:
    seen: dict[str, tuple[str, bool]] = {}
    for panel in panels:
        seen |= {line.name: (line.label, False) for line in panel.lines}
        seen |= {name: (label, True) for name, label, _ in panel.levels}
    x = 24.0
    for name, (label, dashed) in seen.items():
        yield _stroke(f"M{x:.1f},76 h26", name, dashed=dashed)
        yield _text(x + 33, 80, label, size=12.5)
        x += 33 + 6.4 * len(label) + 26


def _panel(panel: Panel, frame: Frame) -> Iterable[str]:
    noun = "follower" if panel.followers == 1 else "followers"
    yield _text(frame.x, frame.y - 13, f"{panel.followers:,} {noun}", size=14, weight=600)
    yield from _axes(frame)
    ends = []
    for name, _, seconds in panel.levels:
        yield _stroke(f"M{frame.x:.1f},{frame.up(seconds):.1f} h{frame.width:.1f}", name, dashed=True)
        ends.append((frame.up(seconds), name, seconds))
    for line in panel.lines:
        yield from _line(line, frame)
        ends.append((frame.up(line.points[-1][1]), line.name, line.points[-1][1]))
    for y, (_, name, seconds) in zip(_spread([y for y, _, _ in sorted(ends)]), sorted(ends), strict=True):
        yield _text(frame.x + frame.width + 8, y + 4, duration(seconds), fill=COLOURS[name], size=11.5, weight=600)


def _line(line: Line, frame: Frame) -> Iterable[str]:
    places = [(frame.across(k), frame.up(t)) for k, t in line.points]
    if len(places) > 1:
        yield _stroke("M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in places), line.name)
    x, y = places[-1]
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOURS[line.name]}"/>'


def _axes(frame: Frame) -> Iterable[str]:
    bottom = frame.y + frame.height
    for decade in range(frame.decades[0], frame.decades[1] + 1):
        y = frame.up(10.0**decade)
        yield f'<path d="M{frame.x:.1f},{y:.1f} h{frame.width:.1f}" stroke="{_GRID}"/>'
        yield _text(frame.x - 8, y + 4, duration(10.0**decade), fill=_FAINT, anchor="end")
    yield f'<path d="M{frame.x:.1f},{bottom:.1f} h{frame.width:.1f}" stroke="{_FAINT}"/>'
    for k in _ticks(frame.most):
        yield f'<path d="M{frame.across(k):.1f},{bottom:.1f} v5" stroke="{_FAINT}"/>'
        yield _text(frame.across(k), bottom + 18, f"{k:,}", fill=_FAINT, anchor="middle")
    middle = frame.y + frame.height / 2
    yield _text(frame.x + frame.width / 2, bottom + 38, "k-th follower to be reached", fill=_FAINT, anchor="middle")
    turned = f' transform="rotate(-90 {frame.x - 58:.1f} {middle:.1f})"'
    yield _text(frame.x - 58, middle, "time after the POST (log scale)", fill=_FAINT, anchor="middle", more=turned)


def _ticks(most: int) -> list[int]:
    return (
        sorted({1, *(round(most * quarter / 4) for quarter in range(1, 5))}) if most > 4 else list(range(1, most + 1))
    )


def _spread(places: Sequence[float]) -> list[float]:
    """Rising places, moved apart until no two labels overlap; each crowd stays centred where it was."""
    crowds: list[list[float]] = []
    for place in places:
        crowds.append([place])
        while len(crowds) > 1 and _row(crowds[-1])[0] - _row(crowds[-2])[-1] < _MIN_GAP:
            crowds[-2:] = [crowds[-2] + crowds[-1]]
    return [place for crowd in crowds for place in _row(crowd)]


def _row(crowd: Sequence[float]) -> list[float]:
    middle = sum(crowd) / len(crowd)
    return [middle + _MIN_GAP * (number - (len(crowd) - 1) / 2) for number in range(len(crowd))]


def _stroke(path: str, name: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2.2" stroke-linejoin="round"{dash}/>'


def _text(
    x: float, y: float, text: str, *, fill: str = _INK, size: float = 12, weight: int = 400, anchor: str = "start",
    more: str = "",
) -> str:  # fmt: skip
    style = f'fill="{fill}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}{more}>{escape(text)}</text>'

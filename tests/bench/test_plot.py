import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bench.plot import COLOURS, Line, Panel, duration, render

SVG = "{http://www.w3.org/2000/svg}"


def panel(followers: int, **last_s: float) -> Panel:
    lines = [
        Line(name, f"the {name} & co", [(k, last * k / followers) for k in range(1, followers + 1)])
        for name, last in last_s.items()
    ]
    return Panel(followers, lines, [("engine", "empty <children>", 2.0)])


@pytest.fixture
def drawn() -> ElementTree.Element:
    panels = [panel(1, floor=0.002, ours=0.03), panel(50, floor=0.05, ours=0.07, textbook=30.0)]
    return ElementTree.fromstring(render(panels, "medians of 3 runs"))


def texts(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{SVG}text")]


def curves(svg: ElementTree.Element) -> dict[str, list[tuple[float, float]]]:
    """Stroke colour → points of the paths that have more than one leg."""
    found = {}
    for path in svg.iter(f"{SVG}path"):
        points = re.findall(r"([\d.]+),([\d.]+)", path.get("d", "")) if " L" in path.get("d", "") else []
        if points:
            found[path.get("stroke", "")] = [(float(x), float(y)) for x, y in points]
    return found


def test_every_system_and_every_size_is_labelled(drawn: ElementTree.Element):
    shown = texts(drawn)
    assert {"the floor & co", "the ours & co", "the textbook & co", "empty <children>"} <= set(shown)
    assert "1 follower" in shown
    assert "50 followers" in shown
    assert "medians of 3 runs" in shown


def test_each_panel_names_its_axes_and_their_unit(drawn: ElementTree.Element):
    assert texts(drawn).count("k-th follower to be reached") == 2
    assert sum("after the POST" in text for text in texts(drawn)) == 2


def test_a_line_goes_right_and_up_and_never_back(drawn: ElementTree.Element):
    lines = curves(drawn)
    assert set(lines) == {COLOURS["floor"], COLOURS["ours"], COLOURS["textbook"]}
    for points in lines.values():
        assert len(points) == 50
        assert all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(points))


def test_the_slower_system_is_drawn_above(drawn: ElementTree.Element):
    lines = curves(drawn)
    assert lines[COLOURS["textbook"]][-1][1] < lines[COLOURS["ours"]][-1][1] < lines[COLOURS["floor"]][-1][1]


def test_nothing_lies_outside_the_picture(drawn: ElementTree.Element):
    _, _, width, height = (float(n) for n in drawn.get("viewBox", "").split())
    points = [point for line in curves(drawn).values() for point in line]
    points += [(float(e.get("x", -1)), float(e.get("y", -1))) for e in drawn.iter(f"{SVG}text")]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_a_single_follower_is_a_dot(drawn: ElementTree.Element):
    assert [c.get("fill") for c in drawn.iter(f"{SVG}circle")].count(COLOURS["ours"]) == 2


def test_last_times_that_lie_close_together_are_written_apart():
    svg = ElementTree.fromstring(render([panel(10, floor=1.0, ours=1.01, textbook=1.02)], ""))
    places = sorted(float(e.get("y", 0)) for e in svg.iter(f"{SVG}text") if e.get("font-size") == "11.5")
    assert len(places) == 4
    assert all(b - a > 12 for a, b in pairwise(places))


def test_there_is_no_picture_of_nothing():
    with pytest.raises(ValueError, match="no panels"):
        render([], "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0004, "0.4 ms"),
        (0.0316, "31.6 ms"),
        (0.61234, "612 ms"),
        (0.9999, "1 s"),
        (47.26, "47.3 s"),
        (1_234, "1,234 s"),
    ],
)
def test_durations_are_said_in_the_unit_that_fits(seconds: float, said: str):
    assert duration(seconds) == said

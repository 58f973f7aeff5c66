"""What people read at the end fits their terminal and says why."""

import io

import pytest
from rich.console import Console

from settings import Settings
from stack.demo_check import check
from stack.demo_play import Play
from stack.demo_show import show_end
from stack.demo_why import why
from tests.stack.demo_world import perfect

SETTINGS = Settings.model_validate(
    {"profile": "embedded", "postgres": {"dsn": "x"}, "auth": {"jwks": "{}"}, "secrets": {"master_keys": "x"}}
)


def shown(play: Play, width: int) -> str:
    text = io.StringIO()
    show_end(Console(file=text, width=width), play, check(play), SETTINGS)
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_every_follower_has_a_line_in_every_order_of_its_vault(width: int):
    play = perfect().play()
    text = shown(play, width)
    for part in play.parts():
        assert part.follower.member.label in text
    assert text.count("✓") == len(list(play.parts())) + len(check(play))
    assert "✗" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(width: int):
    lines = shown(perfect().play(), width).splitlines()
    # Addresses and ids are never cut, so that they can be copied; they wrap by the terminal itself.
    assert [line for line in lines if len(line.rstrip()) > width and "FO-" not in line and "s3://" not in line] == []


def test_a_fault_is_shown_where_it_is_and_in_the_checks():
    demo = perfect()
    demo.order("Core/capped")["qty"] = "6"
    text = shown(demo.play(), 120)
    assert text.count("✗") == 2
    assert "buy 100 AAPL on Core, capped: size 6 instead of 5" in text


@pytest.mark.parametrize(
    ("label", "nth", "expected"),
    [
        ("Core/half size", 0, "100 × 0.5 = 50"),
        ("Core/capped", 0, "100 × 0.2 = 20, capped at 1,000 USD: 5"),
        ("Core/kill switch", 0, "kill switch"),
        ("Core/a third", 1, "40/100 of 33 held = 13.2 → 13"),
        ("Core/dead", 1, "nothing held"),
        ("Tech/at its cap", 1, "at its cap of 4,000 USD"),
        ("Tech/too small", 0, "60 × 0.01 = 0.6, below the minimum"),
        ("Tech/gone", 1, "endpoint disabled after 410"),
    ],
)
def test_the_size_is_explained_in_a_few_words(label: str, nth: int, expected: str):
    assert why(perfect().order(label, nth)) == expected


def test_a_full_exit_sells_all_that_is_held():
    order = perfect().order("Core/a third", 1)
    order["trace"] = [
        {"rule": "held", "value": "33", "result": "33", "why": ""},
        {"rule": "full_exit", "value": "100", "result": "33", "why": ""},
    ]
    assert why(order) == "full exit: all 33 held"

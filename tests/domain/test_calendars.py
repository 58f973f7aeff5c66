"""What an exchange's sessions and an instrument's flags let pass."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.calendars import (
    Market,
    Outside,
    barred,
    check_calendar,
    flags_of,
    outside_session,
    parse_published,
    read_market,
    shut,
)
from domain.errors import InvalidInput
from domain.orders import OrderType
from domain.risk_profile import check_risk_profile
from domain.sizing import Effect
from domain.venues import Flag

NOW = datetime(2026, 11, 27, 17, 59, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
OPEN = Market("XNYS", covered=True, closes_at=LATER, opens_at=None)
CLOSED = Market("XNYS", covered=True, opens_at=LATER)
WHOLE = {
    "calendar": "XNYS",
    "source": "test",
    "covers_from": "2026-11-26T00:00:00+00:00",
    "covers_until": "2026-11-28T00:00:00+00:00",
    "sessions": [["2026-11-27", "2026-11-27T14:30:00+00:00", "2026-11-27T18:00:00+00:00"]],
}


def test_opens_start_only_while_the_exchange_is_known_to_be_open() -> None:
    assert shut(None, Effect.OPEN) is None
    assert shut(OPEN, Effect.OPEN) is None
    assert shut(CLOSED, Effect.OPEN) == "market_closed"


@pytest.mark.parametrize(
    "market", [Market("XNYS", covered=False, closes_at=LATER, opens_at=LATER), Market("XNYS", covered=True)]
)
def test_what_is_not_stored_is_never_taken_for_open(market: Market) -> None:
    assert (market.is_open, market.is_known) == (False, False)
    assert shut(market, Effect.OPEN) == "calendar_unknown"


def test_a_reduction_that_is_under_way_is_not_stranded_by_the_close() -> None:
    assert shut(CLOSED, Effect.REDUCE) is None


@pytest.mark.parametrize(
    ("flag", "effect", "order_type", "code"),
    [
        (Flag.HALTED, Effect.REDUCE, OrderType.LIMIT, "instrument_halted"),
        (Flag.CANCEL_ONLY, Effect.OPEN, OrderType.MARKET, "instrument_halted"),
        (Flag.POST_ONLY, Effect.OPEN, OrderType.LIMIT, "instrument_post_only"),
        (Flag.LIMIT_ONLY, Effect.REDUCE, OrderType.MARKET, "instrument_limit_only"),
        (Flag.LIMIT_ONLY, Effect.OPEN, OrderType.LIMIT, None),
        (Flag.CLOSE_ONLY, Effect.OPEN, OrderType.MARKET, "instrument_close_only"),
        (Flag.CLOSE_ONLY, Effect.REDUCE, OrderType.MARKET, None),
    ],
)
def test_what_a_flag_forbids(flag: Flag, effect: Effect, order_type: OrderType, code: str | None) -> None:
    bar = barred(frozenset({flag}), effect, order_type)
    assert (None if bar is None else bar.code) == code


def test_without_a_flag_everything_passes() -> None:
    assert barred(frozenset(), Effect.OPEN, OrderType.MARKET) is None


def test_a_market_is_read_as_a_statement_tells_it() -> None:
    row = {"calendar": "XNYS", "covered": True, "closes_at": LATER.isoformat(), "opens_at": None, "opened_at": None}
    assert read_market(row) == OPEN
    assert read_market(None) is None


def test_a_published_calendar_is_read_whole_or_not_at_all() -> None:
    found = parse_published(WHOLE)
    assert (found.calendar, found.sessions[0].closes_at) == ("XNYS", datetime(2026, 11, 27, 18, tzinfo=UTC))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sessions": [["2026-11-27", "2026-11-27T14:30:00", "2026-11-27T18:00:00+00:00"]]},
        {"sessions": [["2026-11-27", "2026-11-27T18:00:00+00:00", "2026-11-27T14:30:00+00:00"]]},
        {"sessions": WHOLE["sessions"] * 2},  # type: ignore[operator]
        {"sessions": None},
        {"covers_until": "soon"},
    ],
)
def test_a_calendar_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse_published({**WHOLE, **wrong})


def test_a_vault_refuses_unless_it_says_that_it_queues() -> None:
    assert outside_session({}) is Outside.REFUSE
    assert outside_session({"outside_session": "queue"}) is Outside.QUEUE
    for wrong in ("wait", 1, True, ["queue"]):
        with pytest.raises(InvalidInput) as refused:
            check_risk_profile({"outside_session": wrong})
        assert refused.value.field == "risk_profile.outside_session"


def test_flags_and_calendars_that_there_are_not_are_refused() -> None:
    assert flags_of(None) == frozenset()
    with pytest.raises(InvalidInput, match="known are halted"):
        flags_of(["shut"])
    for code in ("24/7", "XNYS", "CME_Equity", None):
        check_calendar(code)
    for code in ("", "X", "../etc", "XNYS XNAS"):
        with pytest.raises(InvalidInput):
            check_calendar(code)

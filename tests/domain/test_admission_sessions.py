"""Admission while an exchange is closed, or an instrument is restricted: refused in words, or waiting."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.admission import Decision, admit, admit_correction, admit_released
from domain.calendars import Market, Outside
from domain.errors import OrderRefused
from domain.orders import OrderType, TimeInForce
from domain.sessions import parse_hours
from domain.sizing import Effect
from domain.venues import Flag
from tests.domain.test_admission import BUY, LONG, MARKET, NOW, SELL, VAULT, D

OPENS = NOW + timedelta(hours=3)
CLOSED = replace(MARKET, market=Market("XNYS", covered=True, opens_at=OPENS))
UNKNOWN = replace(MARKET, market=Market("XNYS", covered=False))
TRADING = replace(MARKET, market=Market("XNYS", covered=True, closes_at=OPENS))
QUEUES = replace(VAULT, outside=Outside.QUEUE)


def refusal(*args: Any, by: Any = admit) -> tuple[str, str]:
    with pytest.raises(OrderRefused) as refused:
        by(*args)
    return refused.value.code, refused.value.reason


def test_an_open_while_the_exchange_is_closed_is_refused_with_the_time_of_its_opening() -> None:
    code, reason = refusal(BUY, VAULT, CLOSED, NOW)
    assert code == "market-closed"
    assert OPENS.isoformat() in reason


def test_a_vault_that_queues_has_it_wait_and_the_order_itself_comes_first() -> None:
    waits = Decision(Effect.OPEN, OPENS)
    assert admit(BUY, QUEUES, CLOSED, NOW) == waits
    assert admit(replace(BUY, outside_session=Outside.QUEUE), VAULT, CLOSED, NOW) == waits
    assert refusal(replace(BUY, outside_session=Outside.REFUSE), QUEUES, CLOSED, NOW)[0] == "market-closed"
    assert admit(BUY, QUEUES, TRADING, NOW) == Decision(Effect.OPEN)


def test_a_reduction_waits_whatever_the_vault_says_of_opens() -> None:
    assert admit(SELL, LONG, CLOSED, NOW) == Decision(Effect.REDUCE, OPENS)
    assert refusal(replace(SELL, outside_session=Outside.REFUSE), LONG, CLOSED, NOW)[0] == "market-closed"


@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
def test_an_order_that_means_now_does_not_wait(tif: TimeInForce) -> None:
    assert "does not wait" in refusal(replace(BUY, tif=tif), QUEUES, CLOSED, NOW)[1]
    assert "does not wait" in refusal(replace(SELL, tif=tif), LONG, CLOSED, NOW)[1]


def test_an_order_that_expires_before_the_session_is_refused_at_once() -> None:
    short = replace(BUY, expires_at=OPENS)
    assert refusal(short, QUEUES, CLOSED, NOW)[0] == "expires-before-open"
    long = replace(BUY, expires_at=OPENS + timedelta(seconds=1))
    assert admit(long, QUEUES, CLOSED, NOW).waits_until == OPENS


@pytest.mark.parametrize(("intent", "vault"), [(BUY, QUEUES), (SELL, LONG)])
def test_what_cannot_be_judged_is_refused_and_says_what_to_do(intent: Any, vault: Any) -> None:
    code, reason = refusal(intent, vault, UNKNOWN, NOW)
    assert code == "calendar-unknown"
    assert "vanta calendars refresh" in reason


def test_an_order_that_waits_is_not_judged_by_the_prices_of_the_night() -> None:
    bare = replace(CLOSED, price=None)
    assert admit(BUY, replace(QUEUES, nav_usd=None), bare, NOW).waits_until == OPENS
    assert refusal(replace(SELL, qty=D(1)), QUEUES, bare, NOW)[0] == "nothing-held"


def test_a_vault_that_queues_has_opens_wait_for_its_own_hours_too() -> None:
    days = [d for n, d in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun")) if n != NOW.weekday()]
    hours = parse_hours({"time_zone": "UTC", "days": days, "open": "09:00", "close": "10:00"})
    assert refusal(BUY, replace(VAULT, hours=hours), MARKET, NOW)[0] == "outside-session"
    assert admit(BUY, replace(QUEUES, hours=hours), MARKET, NOW).waits_until == hours.opens_after(NOW)
    assert admit(SELL, replace(LONG, hours=hours), MARKET, NOW).waits_until is None


def test_what_was_said_of_the_price_before_the_session_sizes_nothing_and_still_binds() -> None:
    far = replace(BUY, reference_price=MARKET.price * 2 if MARKET.price else None)
    assert refusal(far, VAULT, MARKET, NOW, by=admit_released)[0] == "price-collar"
    near = replace(BUY, reference_price=MARKET.price)
    assert refusal(near, VAULT, replace(MARKET, price=None), NOW, by=admit_released)[0] == "missing-price"
    assert admit_released(near, VAULT, MARKET, NOW) == Decision(Effect.OPEN)


@pytest.mark.parametrize(
    ("flag", "code"),
    [
        (Flag.HALTED, "instrument-halted"), (Flag.CANCEL_ONLY, "instrument-halted"),
        (Flag.LIMIT_ONLY, "instrument-limit-only"), (Flag.POST_ONLY, "instrument-post-only"),
    ],
)  # fmt: skip
def test_a_restricted_instrument_refuses_reductions_too(flag: Flag, code: str) -> None:
    market = replace(MARKET, flags=frozenset({flag}))
    assert refusal(BUY, VAULT, market, NOW)[0] == code
    assert refusal(SELL, LONG, market, NOW)[0] == code


def test_limit_orders_pass_where_only_they_do_and_reductions_where_only_they_do() -> None:
    limit = replace(BUY, order_type=OrderType.LIMIT, limit_price=MARKET.price)
    assert admit(limit, VAULT, replace(MARKET, flags=frozenset({Flag.LIMIT_ONLY})), NOW).effect is Effect.OPEN
    closing = replace(MARKET, flags=frozenset({Flag.CLOSE_ONLY}))
    assert admit(SELL, LONG, closing, NOW).effect is Effect.REDUCE
    assert refusal(BUY, VAULT, closing, NOW)[0] == "instrument-close-only"


def test_a_correction_opens_nothing_while_the_exchange_is_closed_and_never_waits() -> None:
    assert refusal(BUY, D(0), VAULT, CLOSED, by=admit_correction)[0] == "market-closed"
    assert admit_correction(SELL, D(10), VAULT, CLOSED) is Effect.REDUCE

"""Who takes part in the demonstration: every way in which a follower's side can behave, at least once."""

from decimal import Decimal

from domain.orders import FollowerState, ManagerState
from domain.sizing import Mode
from stack.demo_scenario import Cast, Member, Outcome

_S = FollowerState
_M = ManagerState


def _d(value: str | int) -> Decimal:
    return Decimal(value)


def _ok(qty: str | int, attempts: int = 1) -> Outcome:
    return Outcome(_S.CONFIRMED, _d(qty), attempts)


def _skip(reason: str, qty: int = 0) -> Outcome:
    return Outcome(_S.SKIPPED, _d(qty), 0, reason)


_KILLED = Outcome(_S.KILLED, _d(0), 0, "kill_switch")
_NOTHING = _skip("nothing_held")
_BUSY = {"kind": "rate_limited", "retry_after_s": 3}


def _refused(qty: int, reason: str) -> Outcome:
    return Outcome(_S.REJECTED, _d(qty), 1, reason)


# Buys 100 AAPL, then sells 40 of them.
CORE = Cast(
    "Core", "AAPL", _d(200), _d("200.05"), _d(2_000_000), (_M.SETTLED_WITH_ERRORS, _M.SETTLED),
    (
        Member("full size", "webhook", (_ok(100), _ok(40))),
        Member("half size", "webhook", (_ok(50), _ok(20)), _d("0.5")),
        Member("a third", "webhook", (_ok(33), _ok(13)), _d("0.33")),
        Member("own fill price", "webhook", (_ok(10), _ok(4)), _d("0.1"), receiver={"fill_price": "200.15"}),
        Member("capped", "webhook", (_ok(5), _ok(2)), _d("0.2"), Mode.CAPPED, _d(1_000)),
        Member("kill switch", "webhook", (_KILLED, _KILLED), kill_switch=True),
        Member("shadow", "none", (Outcome(_S.SHADOWED, _d(25), 0), _NOTHING), _d("0.25"), Mode.SHADOW),
        Member("fails twice", "webhook", (_ok(60, 3), _ok(24, 3)), _d("0.6"), receiver={"kind": "fail", "times": 2}),
        Member("dead", "webhook", (Outcome(_S.DEAD_LETTER, _d(30), 5, "retries_exhausted"), _NOTHING), _d("0.3"),
               receiver={"kind": "fail"}),
        Member("bridged", "alpaca", (_ok(20), _ok(8)), _d("0.2")),
        Member("partial fills", "alpaca", (_ok(40), _ok(16)), _d("0.4"),
               account={"behaviour": {"life": {"steps": 4, "interval_ms": 1_500}}}),
        Member("no funds", "alpaca", (_refused(20, "insufficient_funds"), _NOTHING), _d("0.2"),
               account={"cash": "1000"}),
        Member("fractional", "alpaca", (_ok("3.5"), _ok("1.4")), _d("0.035"), fractional=True),
        Member("busy broker", "alpaca", (_ok(15, 2), _ok(6, 2)), _d("0.15"), account={"behaviour": {"fault": _BUSY}}),
    ),
)  # fmt: skip

# Buys 60 MSFT, then 30 more: those that are at their cap by then get none.
TECH = Cast(
    "Tech", "MSFT", _d(400), _d("399.90"), _d(1_500_000),
    (_M.SETTLED_WITH_ERRORS, _M.SETTLED_WITH_ERRORS),
    (
        Member("full size", "webhook", (_ok(60), _ok(30))),
        Member("never answers", "webhook", (_ok(30, 2), _ok(15, 2)), _d("0.5"),
               receiver={"kind": "process_then_hang", "times": 1}),
        Member("at its cap", "webhook", (_ok(10), _skip("at_cap")), _d("0.5"), Mode.CAPPED, _d(4_000)),
        Member("ceiling", "webhook", (_ok(15), _ok(2)), _d("0.25"), max_pos_usd=_d(7_000)),
        Member("too small", "webhook", (_skip("below_minimum"), _skip("below_minimum")), _d("0.01")),
        Member("slow", "webhook", (_ok(12), _ok(6)), _d("0.2"), receiver={"delay_ms": 1_500}),
        Member("gone", "webhook", (_refused(6, "gone"), _skip("endpoint_disabled", 3)), _d("0.1"),
               receiver={"kind": "fail", "status": 410}),
        Member("busy", "webhook", (_ok(18, 2), _ok(9, 2)), _d("0.3"),
               receiver={"kind": "fail", "status": 503, "times": 1, "retry_after": "2"}),
        Member("shadow", "none", (Outcome(_S.SHADOWED, _d(30), 0), Outcome(_S.SHADOWED, _d(15), 0)), _d("0.5"),
               Mode.SHADOW),
        Member("bridged", "alpaca", (_ok(6), _ok(3)), _d("0.1")),
        Member("silent broker", "alpaca", (_ok(9), _ok(4)), _d("0.15"),
               account={"behaviour": {"fault": {"kind": "hang_after_booking"}}}),
        Member("fractional", "alpaca", (_ok("0.75"), _ok("0.375")), _d("0.0125"), fractional=True),
        Member("broker rejects", "alpaca", (_refused(6, "rejected"), _refused(3, "rejected")), _d("0.1"),
               account={"behaviour": {"life": {"ending": "rejected"}}}),
        Member("capped", "alpaca", (_ok(7), _skip("at_cap")), _d("0.2"), Mode.CAPPED, _d(3_000)),
    ),
)  # fmt: skip

CASTS = (CORE, TECH)

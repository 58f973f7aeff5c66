"""A follower order as the store would read it, for tests of what is decided from it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from domain.dispatch import PendingOrder
from domain.guards import GuardFacts
from domain.orders import FollowerState, ManagerState, OrderType, Side, TimeInForce
from domain.ports import OutcomeKind, SendOutcome, VenueOrder, VenueStatus
from domain.redrive import RedriveFacts
from domain.sizing import Effect, FollowerTerms, Instrument, Mode, OrderTerms

NOW = datetime(2026, 1, 30, 15, tzinfo=UTC)
GUARDS = GuardFacts(
    kill_switch=False, maintenance=False, halt=None, manager_state=ManagerState.DISPATCHING, effect=Effect.OPEN,
    expires_at=None, endpoint_disabled=False,
)  # fmt: skip


def pending(**fields: Any) -> PendingOrder:
    """Ten AAPL in `sent`, first attempt, by webhook, unless `fields` say otherwise."""
    order = PendingOrder(
        tenant_id="11111111-1111-4111-8111-111111111111", fo_id="FO-1", mo_id="M-1", follower_id="F_1",
        vault_id="V_1", symbol="AAPL", side=Side.BUY, qty=Decimal(10), order_type=OrderType.MARKET, limit_price=None,
        tif=TimeInForce.DAY, state=FollowerState.SENT, attempts=1, last_error=None, route="webhook",
        broker_order_ref=None, filled_qty=Decimal(0), avg_price=None, price=Decimal(200), scale=Decimal(1),
        max_pos_usd=None, persona=None, meta={}, guards=GUARDS,
    )  # fmt: skip
    return replace(order, **fields)


def redrive_facts(order: PendingOrder, **fields: Any) -> RedriveFacts:
    """A dead letter's order that nothing stands in the way of, unless `fields` say otherwise."""
    facts = RedriveFacts(
        state=order.state, webhook=order.is_webhook, hedge=False, side=order.side, qty=order.qty,
        filled_qty=order.filled_qty, outcomes=(), guards=order.guards, sized_at=Decimal(200),
        price=Decimal(200), collar_bps=Decimal(500),
        terms=OrderTerms(order.side, order.qty, order.guards.effect, Decimal(0), Decimal(200)),
        follower=FollowerTerms(Mode.PROPORTIONAL, Decimal(1), Decimal(0)),
        instrument=Instrument("AAPL", Decimal(1), Decimal("0.01"), Decimal(0)),
    )  # fmt: skip
    return replace(facts, **fields)


def outcome(kind: OutcomeKind, **fields: Any) -> SendOutcome:
    return SendOutcome(kind, fields.pop("code", f"test_{kind.value}"), **fields)


def venue_order(status: VenueStatus, filled: int | Decimal = 0, price: Decimal | None = None) -> VenueOrder:
    return VenueOrder("ref-1", "FO-1", status, Decimal(filled), price)

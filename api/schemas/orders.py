"""Manager orders, follower orders, and the DAG of one, on the wire."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from api.schemas.audit import AuditEvent
from api.schemas.common import Answer, DecimalStr, Request
from domain.orders import FollowerState, ManagerState, OrderType, Side, TimeInForce


class NewManagerOrderBody(Request):
    """Documents the body; `domain.intents` reads it, for the API as for the queue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "vault_id": "V_alpha_k3v9q2xd",
                    "symbol": "AAPL",
                    "side": "buy",
                    "qty": "100",
                    "tif": "day",
                    "meta": {
                        "reason_vector": ["momentum"],
                        "conviction": {"score": 0.8, "band": "high"},
                        "expires_at": "2026-01-31T20:55:00Z",
                    },
                }
            ]
        }
    )

    vault_id: str
    symbol: str = Field(examples=["AAPL", "BTC-USD"])
    venue: str | None = None
    side: Side
    qty: Decimal = Field(gt=0, description="Best written as a string.")
    type: OrderType = OrderType.MARKET
    limit_price: Annotated[Decimal, Field(gt=0)] | None = None
    tif: TimeInForce = TimeInForce.DAY
    meta: dict[str, Any] = Field(
        default={},
        description="expires_at, reference_price, allow_duplicate (bool), outside_session (refuse or queue, in "
        "place of the vault's), reason_vector, provenance, conviction "
        "{score 0 to 1, band, overrides {risk_averse, growth, contrarian, hedged: -1 to 1}}, and your own.",
    )


class PlacedOrder(Answer):
    """`state` is `dispatching`, or `received` where the verdict was not there in time (202) or the order waits."""

    mo_id: str = Field(examples=["M-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    state: ManagerState
    followers: int = Field(description="Followers in the order's snapshot; none yet of one that waits.")
    waits_until: datetime | None = Field(default=None, description="When the session opens that the order waits for.")


class CancelledOrder(Answer):
    """`cancelled` follower orders had never been sent; `in_flight` ones are cancelled where the venue allows it."""

    mo_id: str
    state: ManagerState
    cancelled: int
    in_flight: int


class ManagerOrder(Answer):
    mo_id: str
    vault_id: str
    symbol: str
    venue: str
    side: str
    qty: DecimalStr
    type: str = Field(validation_alias="order_type")
    limit_price: DecimalStr | None
    tif: str
    meta: dict[str, Any]
    state: ManagerState
    reason: str | None
    effect: str | None
    source: str
    actor: str
    expires_at: datetime | None
    followers: int
    created_at: datetime
    settled_at: datetime | None
    waits_until: datetime | None = Field(description="When the session opens (or opened) that it waits for.")


class ManagerOrderDetail(ManagerOrder):
    follower_states: dict[str, int] = Field(default={}, description="Follower orders by state.")


class FollowerOrder(Answer):
    fo_id: str
    mo_id: str
    follower_id: str
    vault_id: str
    leg: int
    symbol: str
    side: str
    qty: DecimalStr
    cap_applied: bool
    state: FollowerState
    reason: str | None
    route: str
    broker_order_ref: str | None
    dispatch_attempts: int
    last_error: str | None
    filled_qty: DecimalStr
    avg_price: DecimalStr | None
    next_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Attempt(Answer):
    """A send without `outcome` is one that nobody has seen the end of."""

    attempt_no: int
    via: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    code: str | None
    http_status: int | None
    detail: str | None


class Fill(Answer):
    fill_id: str
    symbol: str
    side: str
    qty: DecimalStr
    price: DecimalStr | None
    source: str
    ts: datetime


class OrderLeg(Answer):
    """A step towards a routed order: money that is changed (`convert`), or the order itself (`trade`).

    `amount` of `source` is given for `expected` of `target`; `received` and `fee`, in `target` for a conversion, are
    the venue's own. The highest `plan` is in force. A trade stays `planned`: its fate is the order's.
    """

    plan: int
    leg_no: int
    leg_id: str
    kind: str
    source: str
    target: str
    amount: DecimalStr
    expected: DecimalStr
    received: DecimalStr | None
    fee: DecimalStr
    ref: str | None
    state: str
    reason: str | None
    updated_at: datetime


class TraceStep(Answer):
    rule: str
    value: str
    result: str
    why: str


class Reason(Answer):
    """`rule` is for machines, `text` for people; `event_id` is the audit event that it is written in."""

    rule: str
    text: str
    event_id: int | None


class Moment(Answer):
    at: datetime
    action: str
    actor: str
    text: str
    event_id: int


class Explanation(Answer):
    """Why this order, why this size, why now; `text` is a short paragraph for the follower."""

    why: list[Reason]
    size: list[Reason] = Field(description="One sentence for every factor, cap and rounding, in their order.")
    timeline: list[Moment] = Field(description="Admission, guards passed at each claim, answers, waits, fills, end.")
    text: str
    money: list[Reason] = Field(description="What was changed before it, leg by leg, and what is left of that.")


class FollowerOrderDetail(FollowerOrder):
    """Why this size: `trace`, every factor, cap and rounding in order. What happened then: attempts and fills.

    `explanation` says all of it in words, each linked to its audit event.
    """

    trace: list[TraceStep]
    audit: dict[str, Any]
    attempts: list[Attempt] = Field(default=[])
    fills: list[Fill] = Field(default=[])
    legs: list[OrderLeg] = Field(default=[], description="Of an order whose money may have to be changed first.")
    explanation: Explanation | None = None
    explained_since: datetime | None = Field(
        default=None, description="Set where the order is older than the plan's audit retention: there is none then."
    )


class DagSnapshot(Answer):
    taken_at: datetime
    digest: str
    body: dict[str, Any]


class DagFollowerOrder(Answer):
    model_config = ConfigDict(extra="allow")

    fo_id: str
    follower_id: str
    state: FollowerState
    qty: str
    filled_qty: str
    trace: list[TraceStep]
    attempts: list[Attempt]
    fills: list[Fill]
    audit_events: list[AuditEvent]


class Dag(Answer):
    """The manager order → its snapshot → its follower orders → their attempts and fills, with every audit event."""

    dag_id: str
    manager_order: dict[str, Any]
    snapshot: DagSnapshot | None
    audit_events: list[AuditEvent]
    follower_orders: list[DagFollowerOrder]

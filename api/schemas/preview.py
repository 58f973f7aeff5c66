"""What a follower would get of an order, on the wire."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Answer, DecimalStr, Time
from api.schemas.orders import TraceStep
from domain import follower_view


class PreviewQuery(BaseModel):
    """A manager order, in the fields of `POST /v1/manager-orders`; texts, as `domain.intents` reads them."""

    model_config = ConfigDict(extra="forbid")

    symbol: str = Field(max_length=64, examples=["AAPL"])
    side: str = Field(max_length=64, examples=["buy"])
    qty: str = Field(max_length=64, examples=["100"])
    type: str = Field(default="market", max_length=64)
    limit_price: str | None = Field(default=None, max_length=64)
    tif: str = Field(default="day", max_length=64)
    reference_price: str | None = Field(default=None, max_length=64, description="Of `meta`.")
    expires_at: str | None = Field(default=None, max_length=64, description="Of `meta`.")
    outside_session: str | None = Field(default=None, max_length=64, description="Of `meta`: refuse or queue.")
    conviction: str | None = Field(
        default=None, max_length=4_096, description="Of `meta`, as JSON.", examples=['{"score": 0.8}']
    )
    asof: Time | None = Field(
        default=None, description="As it would have been then; not in the future.", examples=["2026-01-31T12:00:00Z"]
    )


class PreviewAdmission(Answer):
    """Whether the manager's order would be admitted. `effect` is null where it is neither open nor reduction."""

    accepted: bool
    effect: str | None
    code: str | None
    reason: str | None
    field: str | None
    waits_until: datetime | None = Field(
        default=None, description="It would be admitted and wait for its session, to be judged and sized anew then."
    )


class PreviewLeg(Answer):
    """A follower order that there would be: leg 0 is the order itself, leg 1 its hedge.

    `state`: sized, skipped, shadowed or killed; `reason` says why nothing would be sent.
    """

    leg: int
    symbol: str
    side: str
    qty: DecimalStr
    cap_applied: bool
    carry: DecimalStr
    state: str
    reason: str | None
    route: str | None
    trace: list[TraceStep]


class PreviewMoneyLeg(Answer):
    """Money that is changed (`convert`) or the order itself (`trade`): `amount` of `source` for `expected` of `target`.

    `fee` is an estimate, in the order's quote currency.
    """

    leg_no: int
    kind: str
    source: str
    target: str
    amount: DecimalStr
    expected: DecimalStr
    fee: DecimalStr


class PreviewRefusal(Answer):
    code: str
    reason: str


class PreviewMoney(BaseModel):
    """How the order would be paid for, by the balances last known, of `balances_asof`: nobody asks the venue now.

    They are read by reconciliation, and whenever an order's money is planned. Null: none are known yet, and only the
    order itself is shown.
    """

    converts: bool = Field(description="Whether the account's owner agrees that its money is changed.")
    currency: str = Field(description="The order's quote currency, in which its fees are.")
    balances: dict[str, DecimalStr]
    balances_asof: datetime | None
    legs: list[PreviewMoneyLeg]
    fee: DecimalStr | None = Field(description="Of all legs together.")
    refusal: PreviewRefusal | None = Field(description="Why nothing would be sent: depegged, insufficient_funds, …")

    @classmethod
    def of(cls, route: Any) -> Self:
        plan = route.plan
        return cls(
            converts=route.converts,
            currency=route.currency,
            balances=route.balances,
            balances_asof=route.asof,
            legs=[] if plan is None else [PreviewMoneyLeg.model_validate(leg) for leg in plan.legs],
            fee=None if plan is None else plan.fee,
            refusal=None if route.refusal is None else PreviewRefusal.model_validate(route.refusal),
        )


class PreviewStop(Answer):
    """The state that the order would end in, and why."""

    state: str
    reason: str


class PreviewAnswer(BaseModel):
    """`asof` is the time of the facts: given as `asof`, it gives the same answer at any later time."""

    follower_id: str
    vault_id: str
    asof: datetime
    admission: PreviewAdmission | None = Field(
        description="Null for a follower: limits and positions of the vault could be read from it."
    )
    legs: list[PreviewLeg] = Field(description="What the follower would get if the order were admitted.")
    stop: PreviewStop | None = Field(
        description="What would stop it at the moment of sending: kill switch, halt, maintenance, session, instrument, "
        "endpoint."
    )
    money: PreviewMoney | None = Field(
        description="Legs and fees of an order for the crypto rail of a broker account; not with `asof`."
    )
    snapshot: dict[str, Any] = Field(
        description="The vault, the instrument and the overlays, as an order freezes them. Empty for a follower."
    )
    follower: dict[str, Any] = Field(description="The follower's terms, as an order freezes them.")

    @classmethod
    def of(cls, preview: Any) -> Self:
        route = preview.terms["route"]
        return cls(
            follower_id=preview.follower_id,
            vault_id=preview.vault_id,
            asof=preview.asof,
            admission=PreviewAdmission.model_validate(preview.verdict),
            legs=[PreviewLeg(**leg.row() | {"route": route}) for leg in preview.legs],
            stop=None if preview.stop is None else PreviewStop.model_validate(preview.stop),
            money=None if preview.money is None else PreviewMoney.of(preview.money),
            snapshot=preview.snapshot,
            follower=preview.terms,
        )

    def for_follower(self) -> Self:
        self.admission, self.snapshot = None, {}
        for leg in self.legs:
            leg.trace = [
                TraceStep.model_validate(step) for step in follower_view.trace([s.model_dump() for s in leg.trace])
            ]
        return self

"""Reconciliation runs and what they found, on the wire."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.common import Answer, DecimalStr


class Reconciliation(Answer):
    """`state` is running, done or failed. `drifts` counts positions that are not what they should be."""

    run_id: str = Field(examples=["R-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    vault_id: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    followers: int
    drifts: int
    summary: dict[str, Any] = Field(
        description="Drifts by cause, actions by kind, what was under way (`in_flight`) or moved meanwhile (`moved`), "
        "accounts that could not be read (`unreachable`), followers off their path (`alerts`, in basis points), and "
        "slippage and latency of the orders that filled since the previous run."
    )


class Drift(Answer):
    """One follower's position in one symbol. Quantities are signed; `actual_qty` is null where nobody could be asked.

    `drift_bps`: the follower's result in the symbol less that of its allotments at their reference prices, in basis
    points of the vault's NAV times the follower's scale.
    """

    follower_id: str
    symbol: str
    expected_qty: DecimalStr
    booked_qty: DecimalStr
    actual_qty: DecimalStr | None
    drift_bps: DecimalStr | None
    cause: str = Field(examples=["missed_fill"])
    action: str | None = Field(examples=["book_fill"])
    evidence: dict[str, Any]
    created_at: datetime


class ReconciliationDetail(Reconciliation):
    """The run with a page of its drifts, by follower and symbol."""

    items: list[Drift]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null at the end.")


class StartedRun(Answer):
    run_id: str
    vault_id: str

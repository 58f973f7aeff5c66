"""Differences between our invoices and the payment systems', on the wire."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.common import Answer
from domain.billing import Provider
from domain.billing_comparison import DifferenceKind

_PAID = {"paid_minor": 0}


class BillingDifference(Answer):
    """`ref` is the invoice's id at the payment system; money in `ours` and `theirs` is in minor units (US cents).

    An empty one of the two: there is no such invoice. `resolved_at`: since when it is gone.
    """

    difference_id: str = Field(examples=["BD-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    subscription_id: str = Field(examples=["SUB-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    provider: Provider = Field(examples=["stripe"])
    kind: DifferenceKind = Field(examples=["paid"])
    ref: str = Field(examples=["in_1Q2w3E4r5T6y7U8i"])
    ours: dict[str, Any] = Field(examples=[_PAID])
    theirs: dict[str, Any] = Field(examples=[{"paid_minor": 4900}])
    found_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    seen_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    resolved_at: datetime | None = Field(examples=[None])

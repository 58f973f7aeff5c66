"""A follower's callback on the wire."""

from pydantic import ConfigDict, Field

from api.schemas.common import Answer, DecimalStr, Request, Time
from domain.confirmations import Confirmation, Final
from domain.errors import InvalidInput
from domain.orders import FollowerState
from domain.reports import MAX_FILL_ID, MAX_FILLS, MAX_REASON, read_fills

_EXACT = r"^[0-9]{1,18}(\.[0-9]{1,18})?$"
_FO = "FO-4R2TDKQ6W5M7PEXAMPLE3XYZ2"


class ConfirmedFill(Request):
    fill_id: str = Field(min_length=1, max_length=MAX_FILL_ID, description="The follower's own; it counts once.")
    qty: str = Field(pattern=_EXACT, description="Of this fill alone; above zero.", examples=["4"])
    price: str = Field(pattern=_EXACT, description="Above zero.", examples=["200.10"])
    ts: Time | None = Field(default=None, description="When it was executed, as the follower has it.")


class ConfirmationBody(Request):
    """Fills, how the order ended, or both. What the signature covers must say which order it is about."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "follower_order_id": _FO,
                    "fills": [{"fill_id": "a-1", "qty": "4", "price": "200.10", "ts": "2026-01-31T12:00:00Z"}],
                },
                {"follower_order_id": _FO, "status": "rejected", "reason": "no borrow"},
            ]
        }
    )

    follower_order_id: str = Field(max_length=64, examples=[_FO])
    fills: list[ConfirmedFill] = Field(default=[], max_length=MAX_FILLS)
    status: Final | None = Field(
        default=None,
        description="confirmed: all of it is done, at the fills' prices, or without any fill at the snapshot's. "
        "rejected: nothing more of it will be done.",
    )
    reason: str | None = Field(default=None, min_length=1, max_length=MAX_REASON, description="Needed with rejected.")

    def to_domain(self, fo_id: str, confirmation_id: str) -> Confirmation:
        """Raises InvalidInput."""
        if self.follower_order_id != fo_id:
            raise InvalidInput("follower_order_id", "is not the order that the callback was sent to")
        if not self.fills and self.status is None:
            raise InvalidInput("fills", "or status must say something")
        if (self.status is Final.REJECTED) != (self.reason is not None):
            raise InvalidInput("reason", "is needed with status rejected, and with no other")
        if self.reason is not None and not self.reason.isprintable():
            raise InvalidInput("reason", "must be printable")
        return Confirmation(
            confirmation_id,
            read_fills([fill.model_dump() for fill in self.fills]),
            self.status,
            self.reason or "",
            {fill.fill_id: fill.ts.isoformat() for fill in self.fills if fill.ts is not None},
        )


class ConfirmationReceipt(Answer):
    """Where the order stands now."""

    fo_id: str = Field(examples=[_FO])
    state: FollowerState = Field(examples=[FollowerState.PARTIALLY_FILLED])
    qty: DecimalStr
    filled_qty: DecimalStr

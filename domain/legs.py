"""The legs of an order as they are stored, and what they mean for it in words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from domain.routing import Leg, LegKind, LegState, leg_id, money
from domain.venues import Conversion, ConversionStatus


@dataclass(frozen=True, slots=True)
class StoredLeg:
    """A leg of plan number `plan`; `received` and `ref` are known once the venue has quoted."""

    fo_id: str
    plan: int
    leg: Leg
    state: LegState
    ref: str | None = None
    received: Decimal | None = None
    reason: str | None = None

    @property
    def leg_id(self) -> str:
        return leg_id(self.fo_id, self.plan, self.leg.leg_no)

    @property
    def quoted(self) -> Conversion:
        """What the venue knows it by."""
        assert self.ref is not None
        assert self.received is not None
        leg = self.leg
        return Conversion(
            self.ref, leg.source, leg.target, leg.amount, self.received, leg.fee, ConversionStatus.QUOTED
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Money:
    """What has been changed for an order so far: `amount` of `currency`, by an order of so many legs."""

    amount: Decimal
    currency: str
    legs: int

    def trade_failed(self, why: str) -> str:
        return (
            f"leg {self.legs} of {self.legs} failed: {why}; the account holds {money(self.amount, self.currency)} of it"
        )


def due(legs: Sequence[StoredLeg]) -> StoredLeg | None:
    """The conversion that comes next; None where a plan is needed first: there is none, or one of its legs failed."""
    open_legs = [leg for leg in legs if leg.leg.kind is LegKind.CONVERT and leg.state is not LegState.DONE]
    return open_legs[0] if open_legs and open_legs[0].state is not LegState.FAILED else None


def conversion_failed(leg: StoredLeg, why: str, *, of: int) -> str:
    """Where the money is then: it has not moved."""
    kept = money(leg.leg.amount, leg.leg.source)
    return f"leg {leg.leg.leg_no} of {of} failed: {why}; the account still holds {kept}, and nothing was changed"

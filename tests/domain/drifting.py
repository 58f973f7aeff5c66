"""Evidence for tests of reconciliation: a follower, its orders, and an account that follows what is done to it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from domain.expectation import ADOPTED, CORRECTION, FillFact, OrderFact
from domain.orders import FollowerState, Side
from domain.ports import AccountOrder, VenueOrder, VenueStatus
from domain.reconciliation import Account, ActionKind, DriftFinding, Evidence, Policy, classify

T0 = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
PRICE = Decimal(100)
F = FollowerState


@dataclass
class Desk:
    """One follower's symbol. Every method is one event; `evidence` is what a run would see then."""

    policy: Policy = Policy.CORRECT_AND_OPEN
    step: Decimal = Decimal(1)
    booked: Decimal = Decimal(0)
    actual: Decimal = Decimal(0)
    orders: list[OrderFact] = field(default_factory=list)
    fills: list[FillFact] = field(default_factory=list)
    venue: list[AccountOrder] = field(default_factory=list)
    clock: int = 0

    def now(self) -> datetime:
        return T0 + timedelta(minutes=self.clock)

    def tick(self) -> datetime:
        self.clock += 1
        return self.now()

    def order(
        self,
        side: str,
        qty: int | Decimal,
        *,
        state: FollowerState = F.CONFIRMED,
        venue_filled: int | Decimal | None = None,
        booked: int | Decimal | None = None,
        **more: Any,
    ) -> str:
        """An order of ours. It fills whole where `state` is confirmed, at the broker and with us, unless told other."""
        at, qty = self.tick(), Decimal(qty)
        whole = qty if state is F.CONFIRMED else Decimal(0)
        mine = Decimal(whole if booked is None else booked)
        theirs = Decimal(mine if venue_filled is None else venue_filled)
        fact = OrderFact(
            f"FO-{self.clock}", at, Side(side), Decimal(more.pop("wanted", qty)), qty, mine, state,
            **{"price": PRICE, **more},
        )  # fmt: skip
        self.orders.append(fact)
        self._book(fact, mine)
        self.actual += fact.side.sign * theirs
        if theirs or state is F.CONFIRMED:
            status = VenueStatus.FILLED if theirs == qty else VenueStatus.CANCELLED
            self._at_venue(fact.fo_id, fact.side, qty, theirs, status)
        return fact.fo_id

    def by_hand(self, side: str, qty: int | Decimal) -> None:
        at = self.tick()
        self.actual += Side(side).sign * Decimal(qty)
        self._at_venue(f"own-{at.isoformat()}", Side(side), Decimal(qty), Decimal(qty), VenueStatus.FILLED)

    def evidence(self, **changes: Any) -> Evidence:
        e = Evidence(
            "F_1", "AAPL", self.booked, self.step, self.now() + timedelta(minutes=1), tuple(self.orders),
            tuple(self.fills), Account(self.actual, tuple(self.venue)), policy=self.policy, mark=PRICE,
            base_usd=Decimal(10_000),
        )  # fmt: skip
        return replace(e, **changes)

    def look(self, **changes: Any) -> Any:
        return classify(self.evidence(**changes))

    def act(self, finding: DriftFinding, *, fills: bool = True) -> None:
        """Do what the finding asks for, as the store and the order path would."""
        action = finding.action
        assert action is not None
        if action.kind is ActionKind.BOOK_FILL:
            for report in action.fills:
                self._catch_up(report)
        elif action.kind is ActionKind.ADOPT:
            at = self.tick()
            self.fills.append(FillFact(f"adopted-{self.clock}", at, action.qty, PRICE, ADOPTED))
            self.booked += action.qty
        else:
            side = "buy" if action.qty > 0 else "sell"
            self.order(side, abs(action.qty), state=F.CONFIRMED if fills else F.REJECTED, kind=CORRECTION)

    def settle(self, most: int = 5) -> list[Any]:
        """Runs until one asks for nothing; fails where that takes more than `most`."""
        seen = []
        for _ in range(most):
            seen.append(self.look())
            if seen[-1].action is None:
                return seen
            self.act(seen[-1])
        raise AssertionError(f"no end: {[(f.cause, f.action) for f in seen]}")

    def _catch_up(self, report: VenueOrder) -> None:
        [(place, fact)] = [(n, o) for n, o in enumerate(self.orders) if o.fo_id == report.client_order_id]
        self.tick()
        self._book(fact, report.filled_qty - fact.filled)
        self.orders[place] = replace(fact, filled=report.filled_qty)

    def _book(self, fact: OrderFact, qty: Decimal) -> None:
        if qty:
            signed = fact.side.sign * qty
            self.fills.append(FillFact(f"{fact.fo_id}:{len(self.fills)}", self.now(), signed, PRICE, "alpaca"))
            self.booked += signed

    def _at_venue(self, client_id: str, side: Side, qty: Decimal, filled: Decimal, status: VenueStatus) -> None:
        report = VenueOrder(f"ref-{client_id}", client_id, status, filled, PRICE if filled else None)
        self.venue.append(AccountOrder(report, "AAPL", side, qty, self.now()))

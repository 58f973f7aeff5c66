"""What can happen to one order at a venue, drawn from a seed, and how an orchestrator lives through it.

The rules are those of the orchestrator: send again only what is provably not there, and take a look-up that finds
nothing as proof only `absence_proven_after_s` after the last attempt ended.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from domain.errors import VenueUnavailable
from domain.orders import Side
from domain.ports import BrokerCredentials, ChildOrder, OutcomeKind, SendOutcome, VenueOrder, VenueStatus
from domain.venues import Capabilities
from simulators.market import Behaviour, Life
from simulators.market.behaviour import NO_FAULT
from tests.adapters.brokers.venue import Breakage, Venue, fault, life

_T = TypeVar("_T")
TERMINAL = frozenset({VenueStatus.FILLED, VenueStatus.CANCELLED, VenueStatus.EXPIRED, VenueStatus.REJECTED})
REFUSALS = ("no such symbol", "halted", "too little money", "more than is held")
NO_SYMBOL = "NOSUCH"
_TRIES = 40
_STEP_S = 70.0
_AGAIN_S = 1.0

# How often each is drawn. What waits for a real time-out is rarer: the venue's clock jumps, ours does not.
SUBMIT_FAULTS: dict[Breakage, int] = {
    "error": 20,
    "error_after_booking": 20,
    "drop": 20,
    "drop_after_booking": 20,
    "rate_limited": 20,
    "slow": 7,
    "hang": 7,
    "hang_after_booking": 7,
    "duplicate_after_booking": 7,
}
READ_FAULTS: dict[Breakage, int] = {
    "error": 20,
    "error_after_booking": 20,
    "drop": 20,
    "drop_after_booking": 20,
    "rate_limited": 20,
    "slow": 7,
    "hang": 7,
    "hang_after_booking": 7,
}
LIVES: dict[str, Life] = {
    "fills": life(),
    "fills in parts": life(steps=4, interval_s=20),
    "fills late": life(delay_s=90),
    "sticks and is cancelled": life(steps=2, ending="stuck"),
    "fills while it is cancelled": life(steps=5, ending="stuck", cancel_delay_ms=30_000, late_steps=2),
    "is cancelled too late": life(steps=5, ending="stuck", cancel_delay_ms=30_000, late_steps=5),
    "expires": life(steps=2, ending="expired", delay_s=60),
    "is rejected after it was accepted": life(ending="rejected", delay_s=60, fill_steps=0),
}


def submit_faults(capabilities: Capabilities) -> dict[Breakage, int]:
    """Those that the venue can show: without de-duplication nothing is ever a duplicate."""
    left_out = set() if capabilities.client_id_dedupes else {"duplicate_after_booking"}
    return {kind: weight for kind, weight in SUBMIT_FAULTS.items() if kind not in left_out}


@dataclass(frozen=True)
class Fate:
    """`refusal` is why the venue must not take the order; `by_hand` is what the account's owner buys meanwhile."""

    client_order_id: str
    life: str
    submit_fault: Breakage | None
    times: int
    read_fault: Breakage | None
    refusal: str | None
    by_hand: int

    @classmethod
    def draw(cls, seed: int, capabilities: Capabilities) -> "Fate":
        choose = random.Random(seed)
        faults = submit_faults(capabilities)
        refused = choose.random() < 0.08
        return cls(
            client_order_id=f"FO-{seed}",
            life=choose.choice(list(LIVES)),
            submit_fault=choose.choices(list(faults), list(faults.values()))[0] if choose.random() < 0.8 else None,
            times=choose.choice((1, 1, 2)),
            read_fault=choose.choices(list(READ_FAULTS), list(READ_FAULTS.values()))[0]
            if choose.random() < 0.5
            else None,
            refusal=choose.choice(REFUSALS) if refused else None,
            by_hand=choose.choice((0, 0, 0, 3)),
        )

    @property
    def is_cancelled(self) -> bool:
        return "cancel" in self.life

    def script(self, venue: Venue, credentials: BrokerCredentials) -> None:
        """Of this order and nobody else's, and of the next read whoever makes it."""
        broken = NO_FAULT if self.submit_fault is None else fault(self.submit_fault, self.times)
        venue.foresee(credentials, self.client_order_id, Behaviour(life=LIVES[self.life], fault=broken))
        if self.read_fault is not None:
            venue.break_reads(self.read_fault)
        if self.by_hand:
            venue.simulator.trade_by_hand(credentials.key_id, "buy", venue.symbol, Decimal(self.by_hand))

    def order(self, venue: Venue) -> ChildOrder:
        order = venue.order(self.client_order_id)
        changes = {
            "no such symbol": {"symbol": NO_SYMBOL},
            "halted": {"symbol": venue.second_symbol},
            "too little money": {"qty": Decimal(1_000_000)},
            "more than is held": {"side": Side.SELL, "qty": Decimal(100_000)},
        }
        return replace(order, **changes.get(self.refusal or "", {}))  # type: ignore[arg-type]


class Orchestrator:
    """Delivers one order to a venue and follows it to its end. `naive` sends again without looking."""

    def __init__(self, venue: Venue, credentials: BrokerCredentials, *, naive: bool = False) -> None:
        self._venue = venue
        self._credentials = credentials
        self._naive = naive

    async def live_through(self, fate: Fate) -> VenueOrder | None:
        """What is known of the order in the end; None where the venue refused it."""
        order = await self._deliver(fate.order(self._venue))
        if order is None or self._naive:
            return None
        ref = order.ref
        if fate.is_cancelled:
            await insist(self._venue, lambda: self._venue.broker.cancel(self._credentials, ref))
        return await self._ended(fate.client_order_id)

    async def _deliver(self, order: ChildOrder) -> VenueOrder | None:
        """As the venue has it in the end; None where it refused it."""
        for _ in range(_TRIES):
            outcome = await self._venue.broker.submit(self._credentials, order)
            attempted = self._venue.clock.now
            if outcome.kind is OutcomeKind.ACK:
                return outcome.venue_order
            if outcome.kind is OutcomeKind.FINAL:
                return None
            self._wait(outcome)
            if outcome.kind is OutcomeKind.AMBIGUOUS and not self._naive:
                there = await self._is_there(order, attempted)
                if there is not None:
                    return there
        raise AssertionError(f"{order.client_order_id} was never delivered: {outcome}")

    def _wait(self, outcome: SendOutcome) -> None:
        if outcome.kind is OutcomeKind.RETRYABLE:
            self._venue.clock.advance(outcome.retry_after_s or _AGAIN_S)

    async def _is_there(self, order: ChildOrder, attempted: float) -> VenueOrder | None:
        """Asks at once, and where that finds nothing again as soon as nothing proves absence."""
        found = await self._find(order.client_order_id)
        if found is not None:
            return found
        proven = attempted + self._venue.broker.capabilities.absence_proven_after_s
        self._venue.clock.advance(max(0.0, proven - self._venue.clock.now))
        return await self._find(order.client_order_id)

    async def _find(self, client_order_id: str) -> VenueOrder | None:
        return await insist(self._venue, lambda: self._venue.broker.look_up(self._credentials, client_order_id))

    async def _ended(self, client_order_id: str) -> VenueOrder:
        for _ in range(_TRIES):
            order = await self._find(client_order_id)
            assert order is not None, f"{client_order_id} was there and is not any more"
            if order.status in TERMINAL:
                return order
            self._venue.clock.advance(_STEP_S)
        raise AssertionError(f"{client_order_id} never ended: {order}")


async def insist(venue: Venue, ask: Callable[[], Awaitable[_T]]) -> _T:
    """Until the venue answers; a read may be repeated, a cancel too."""
    for _ in range(_TRIES):
        try:
            return await ask()
        except VenueUnavailable as unavailable:
            venue.clock.advance(unavailable.retry_after_s or _AGAIN_S)
    raise AssertionError("the venue never answered")

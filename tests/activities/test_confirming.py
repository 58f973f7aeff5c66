"""Following an order at its venue, when the manager order has been called off meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.delivery import DeliveryActivities, FollowerOrderKey
from activities.sending import Sending
from domain.dispatch import Change, PendingOrder, absent
from domain.errors import SecretUnavailable, VenueRefused
from domain.orders import FollowerState, ManagerState
from domain.ports import BrokerCredentials, VenueOrder, VenueStatus
from tests.domain.life import follow
from tests.domain.pending import GUARDS, pending, venue_order

F = FollowerState
KEY = FollowerOrderKey("t", "FO-1")


class Store:
    """One order in memory, as `DispatchStore` shows it."""

    def __init__(self, order: PendingOrder) -> None:
        self.order = order

    @asynccontextmanager
    async def locked(self, _tenant_id: str, _fo_id: str) -> AsyncIterator[tuple[None, PendingOrder]]:
        yield None, self.order

    async def change(self, _cursor: None, change: Change) -> None:
        self.order = follow(self.order, change, {}, [])


class Venue:
    """An account with one order, which a cancel ends unless it is refused."""

    def __init__(self, order: VenueOrder, *, refuses: bool = False) -> None:
        self.order = order
        self.refuses = refuses
        self.cancels: list[str] = []

    async def cancel(self, _credentials: BrokerCredentials, ref: str) -> None:
        self.cancels.append(ref)
        if self.refuses:
            raise VenueRefused("forbidden", "not now")
        self.order = replace(self.order, status=VenueStatus.CANCELLED)

    async def look_up(self, _credentials: BrokerCredentials, _fo_id: str) -> VenueOrder | None:
        return self.order


class Sender:
    def __init__(self, venue: Venue, *, has_key: bool = True) -> None:
        self._venue, self._has_key = venue, has_key

    def broker(self, _order: PendingOrder) -> Venue:
        return self._venue

    def credentials(self, _order: PendingOrder) -> BrokerCredentials:
        if not self._has_key:
            raise SecretUnavailable("no key")
        return BrokerCredentials("ref", "id", "secret", "paper")


def order(manager: ManagerState, **fields: Any) -> PendingOrder:
    guards = replace(GUARDS, manager_state=manager)
    return pending(**{"route": "alpaca", "state": F.ACK, "broker_order_ref": "ref-1", "guards": guards, **fields})


async def confirm(known: PendingOrder, venue: Venue, *, has_key: bool = True) -> tuple[Store, Any]:
    store = Store(known)
    activities = DeliveryActivities(cast("Any", store), cast("Sending", Sender(venue, has_key=has_key)))
    try:
        return store, await ActivityEnvironment().run(activities.confirm, KEY)
    except ApplicationError as error:
        return store, error


@pytest.mark.parametrize("state", [ManagerState.CANCELLED, ManagerState.EXPIRED])
async def test_an_owner_that_no_cancel_has_reached_cancels_at_the_venue(state: ManagerState) -> None:
    venue = Venue(venue_order(VenueStatus.PARTIALLY_FILLED, 4, Decimal(200)))
    store, status = await confirm(order(state), venue)
    assert venue.cancels == ["ref-1"]
    assert (status.state, status.filled_qty) == (F.CANCELLED, 4)
    assert store.order.state is F.CANCELLED


async def test_an_order_that_goes_on_is_not_cancelled() -> None:
    venue = Venue(venue_order(VenueStatus.WORKING))
    _, still_open = await confirm(order(ManagerState.DISPATCHING), venue)
    assert venue.cancels == []
    assert isinstance(still_open, ApplicationError)


async def test_what_has_been_filled_before_the_cancel_came_is_filled() -> None:
    venue = Venue(venue_order(VenueStatus.FILLED, 10, Decimal(200)), refuses=True)
    store, status = await confirm(order(ManagerState.CANCELLED), venue)
    assert status.state is F.CONFIRMED
    assert store.order.filled_qty == 10


async def test_a_cancel_that_cannot_even_be_asked_for_is_asked_for_again_later() -> None:
    venue = Venue(venue_order(VenueStatus.WORKING))
    _, again = await confirm(order(ManagerState.CANCELLED), venue, has_key=False)
    assert isinstance(again, ApplicationError)
    assert venue.cancels == []


@pytest.mark.parametrize(
    ("state", "reason"), [(ManagerState.CANCELLED, "manager_order_cancelled"), (ManagerState.EXPIRED, "expired")]
)
@pytest.mark.parametrize("attempts", [1, 5])
def test_an_order_that_the_venue_never_got_ends_with_its_manager_order(
    state: ManagerState, reason: str, attempts: int
) -> None:
    change = absent(order(state, state=F.UNKNOWN, attempts=attempts, broker_order_ref=None))
    assert (change.target, change.reason, change.wait) == (F.CANCELLED, reason, None)

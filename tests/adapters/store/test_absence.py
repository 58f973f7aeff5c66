"""A look-up that finds nothing: when it proves that the venue has nothing, and when it is only early."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.delivery import DeliveryActivities, FollowerOrderKey, OrderStatus
from activities.errors import RETRY_LATER, STILL_OPEN
from adapters.brokers.alpaca import AlpacaBroker
from adapters.store.database import Database
from adapters.store.dispatch import DispatchStore
from adapters.store.registry import Registry
from domain.dispatch import PendingOrder, proof_due
from domain.enrolment import BrokerAccount
from domain.orders import FollowerState
from domain.ports import BrokerCredentials, VenueOrder, VenueStatus
from domain.venues import Capabilities
from tests.adapters.store.orders import Floor
from tests.adapters.store.test_freezing import SILENT, deliver, expand
from tests.domain.pending import pending

KEY = BrokerAccount("alpaca", "key", "secret")


@dataclass
class SlowToShow:
    """A venue without de-duplication: a new order may be missing from what it shows for a while.

    `meanwhile` runs while it is being asked.
    """

    capabilities: Capabilities = field(default=replace(AlpacaBroker.capabilities, absence_proven_after_s=30))
    shown: VenueOrder | None = None
    meanwhile: Any = None

    async def look_up(self, _credentials: BrokerCredentials, _fo_id: str) -> VenueOrder | None:
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.shown


class Sender:
    mark = 0
    opens_held = False

    def __init__(self, venue: SlowToShow) -> None:
        self._venue = venue

    def broker(self, _order: PendingOrder) -> SlowToShow:
        return self._venue

    def credentials(self, _order: PendingOrder) -> BrokerCredentials:
        return BrokerCredentials("ref", "id", "secret")


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def unanswered(floor: Floor) -> str:
    """An order whose first attempt got no answer."""
    follower = await floor.follower(equities=KEY)
    fo_id: str = (await expand(floor, await floor.admit()))[follower]["fo_id"]
    assert await deliver(floor, fo_id, SILENT) is FollowerState.UNKNOWN
    return fo_id


async def ask(floor: Floor, fo_id: str, venue: SlowToShow) -> OrderStatus | ApplicationError:
    activities = DeliveryActivities(DispatchStore(floor.database), cast("Any", Sender(venue)))
    try:
        return await ActivityEnvironment().run(activities.deliver, FollowerOrderKey(floor.tenant_id, fo_id))
    except ApplicationError as error:
        return error


async def ended_ago(floor: Floor, fo_id: str, seconds: int) -> None:
    """As if the last attempt had ended so long ago."""
    statement = "UPDATE attempts SET ended_at = now() - %s * interval '1 second' WHERE fo_id = %s"
    await floor.rows(statement, seconds, fo_id)


async def standing(floor: Floor, fo_id: str) -> tuple[str, int]:
    [row] = await floor.rows("SELECT state, dispatch_attempts FROM follower_orders WHERE fo_id = %s", fo_id)
    return row["state"], row["dispatch_attempts"]


async def test_an_early_look_up_that_finds_nothing_proves_nothing(floor: Floor) -> None:
    fo_id = await unanswered(floor)
    await ended_ago(floor, fo_id, 10)
    again = await ask(floor, fo_id, SlowToShow())
    assert isinstance(again, ApplicationError)
    assert again.type == STILL_OPEN
    assert again.next_retry_delay is not None
    assert timedelta(seconds=19) < again.next_retry_delay <= timedelta(seconds=20)
    assert "proves nothing for another" in again.message
    assert await standing(floor, fo_id) == ("unknown", 1)


async def test_a_late_look_up_that_finds_nothing_lets_it_go_again(floor: Floor) -> None:
    fo_id = await unanswered(floor)
    await ended_ago(floor, fo_id, 31)
    again = await ask(floor, fo_id, SlowToShow())
    assert isinstance(again, ApplicationError)
    assert again.type == RETRY_LATER
    assert await standing(floor, fo_id) == ("retry", 1)


async def test_what_a_venue_shows_counts_at_once(floor: Floor) -> None:
    fo_id = await unanswered(floor)
    status = await ask(floor, fo_id, SlowToShow(shown=VenueOrder("ref", fo_id, VenueStatus.WORKING)))
    assert isinstance(status, OrderStatus)
    assert await standing(floor, fo_id) == ("ack", 1)


async def test_where_a_second_order_would_be_refused_anyway_nothing_is_waited_for(floor: Floor) -> None:
    fo_id = await unanswered(floor)
    await ask(floor, fo_id, SlowToShow(AlpacaBroker.capabilities))
    assert await standing(floor, fo_id) == ("retry", 1)


async def test_an_attempt_whose_end_nobody_saw_ends_when_it_is_found(floor: Floor) -> None:
    follower = await floor.follower(equities=KEY)
    fo_id = (await expand(floor, await floor.admit()))[follower]["fo_id"]
    store = DispatchStore(floor.database)
    await store.take(floor.tenant_id, fo_id, (await floor.rows("SELECT now() AS now"))[0]["now"])
    again = await ask(floor, fo_id, SlowToShow())
    assert isinstance(again, ApplicationError)
    assert again.next_retry_delay == timedelta(seconds=30)
    assert await standing(floor, fo_id) == ("unknown", 1)


async def test_a_called_off_order_is_over_only_once_it_provably_is_not_there(floor: Floor) -> None:
    fo_id = await unanswered(floor)
    await floor.rows("UPDATE manager_orders SET state = 'cancelled' WHERE vault_id = %s", floor.vault_id)
    await ask(floor, fo_id, SlowToShow())
    assert await standing(floor, fo_id) == ("unknown", 1)
    await ended_ago(floor, fo_id, 60)
    status = await ask(floor, fo_id, SlowToShow())
    assert isinstance(status, OrderStatus)
    assert status.state is FollowerState.CANCELLED


async def test_an_answer_that_comes_after_another_attempt_says_nothing_of_that_one(floor: Floor) -> None:
    fo_id = await unanswered(floor)
    await ended_ago(floor, fo_id, 60)

    async def somebody_else() -> None:
        await ask(floor, fo_id, SlowToShow())  # absent: it goes again,
        assert await deliver(floor, fo_id, SILENT) is FollowerState.UNKNOWN  # and again there is no answer

    status = await ask(floor, fo_id, SlowToShow(meanwhile=somebody_else))
    assert isinstance(status, OrderStatus)
    assert await standing(floor, fo_id) == ("unknown", 2)


@pytest.mark.parametrize(("quiet", "due_s"), [(None, 30), ("0", 30), ("12.5", 17.5), ("30", 0), ("31", 0)])
def test_proof_is_due_when_the_venue_has_been_quiet_for_long_enough(quiet: str | None, due_s: float) -> None:
    order = pending(route="alpaca", state=FollowerState.UNKNOWN, quiet_s=None if quiet is None else Decimal(quiet))
    assert proof_due(order, 30) == timedelta(seconds=due_s)

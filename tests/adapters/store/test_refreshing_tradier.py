"""A Tradier access token exchanged before it expires, at a simulator that ends the old one at once."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities.refreshing import RefreshActivities, RefreshRound
from adapters.brokers.tradier import TradierBroker
from adapters.secretbox import SecretBox
from adapters.store.database import Database
from adapters.store.refreshing import RefreshStore
from adapters.store.registry import Registry
from domain.credentials import unsealed
from domain.enrolment import BrokerAccount
from domain.errors import VenueRefused
from domain.ports import BrokerCredentials
from simulators.tradier import TradierSimulator
from tests.adapters.store.orders import Floor

pytestmark = pytest.mark.usefixtures("no_tokens")


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


@pytest.fixture
async def simulator() -> AsyncIterator[TradierSimulator]:
    async with TradierSimulator() as running:
        running.add_account("ACC-1", "ACCESS-0")
        running.grant_refresh("ACC-1", "REFRESH-0")
        yield running


@pytest.fixture
async def broker(simulator: TradierSimulator) -> AsyncIterator[TradierBroker]:
    made = TradierBroker(
        live_url=simulator.url,
        paper_url=simulator.url,
        live_stream_url=simulator.stream_url,
        paper_stream_url=simulator.stream_url,
        client_id="simulated-application",
        client_secret="simulated-secret",
    )
    yield made
    await made.close()


async def test_two_exchanges_in_a_row_keep_the_account_open(
    floor: Floor, box: SecretBox, broker: TradierBroker
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    account = BrokerAccount("tradier", "ACC-1", "ACCESS-0", refresh_token="REFRESH-0", expires_at=soon)
    follower = await floor.follower(equities=account)
    before = await kept(floor, box, follower)
    await broker.account(before)
    # As long as Tradier's tokens last, so that the one that was just given is due again.
    for lead in (timedelta(hours=1), timedelta(hours=48)):
        refreshing = RefreshActivities(RefreshStore(floor.database, box), {"tradier": broker}, lead=lead)
        assert await ActivityEnvironment().run(refreshing.refresh_credentials) == RefreshRound(refreshed=1)
        now = await kept(floor, box, follower)
        await broker.account(now)
        assert now.expires_at is not None
        assert now.expires_at > soon
        with pytest.raises(VenueRefused):
            await broker.account(before)
        before = now


async def kept(floor: Floor, box: SecretBox, follower: str) -> BrokerCredentials:
    (row,) = await floor.rows("SELECT * FROM credentials WHERE cred_ref = %s", f"cred/{follower}/tradier")
    return unsealed(row["cred_ref"], box.open(row["key_id"], bytes(row["sealed"]), aad=row["cred_ref"]), "paper")

"""Access tokens exchanged before they expire, with a venue that takes each refresh token once."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from activities.refreshing import RefreshActivities, RefreshRound
from adapters.secretbox import SecretBox
from adapters.store.credentials import CredentialStore
from adapters.store.database import Database
from adapters.store.enrolment import credential_ref
from adapters.store.refreshing import RefreshStore
from adapters.store.registry import Registry
from domain.credentials import Which, unsealed
from domain.enrolment import BrokerAccount
from domain.errors import StoreUnavailable, VenueError, VenueRefused, VenueUnavailable
from domain.ports import Broker, BrokerCredentials
from domain.requests import Once
from tests.adapters.store.conftest import ACTOR
from tests.adapters.store.orders import Floor

pytestmark = pytest.mark.usefixtures("no_tokens")
LEAD = timedelta(hours=1)


@dataclass
class Venue:
    """Exchanges each refresh token once; a second time the account's consent is gone for good."""

    used: list[str] = field(default_factory=list)
    error: VenueError | None = None
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def refresh(self, credentials: BrokerCredentials) -> BrokerCredentials:
        assert credentials.refresh_token is not None
        again = credentials.refresh_token in self.used
        self.used.append(credentials.refresh_token)
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None or again:
            raise self.error or VenueRefused("bad_credentials", "the refresh token was used before")
        number = len(self.used)
        return replace(
            credentials, secret=f"ACCESS-{number}", refresh_token=f"REFRESH-{number}",
            expires_at=datetime.now(UTC) + timedelta(hours=24),
        )  # fmt: skip


@pytest.fixture
async def floor(database: Database, registry: Registry, tenant: str) -> Floor:
    made = Floor(database, registry, tenant)
    await made.prepare()
    return made


async def token(floor: Floor, lasts: timedelta = timedelta(minutes=30), refresh_token: str | None = "REFRESH-0") -> str:
    until = datetime.now(UTC) + lasts
    account = BrokerAccount("tradier", "ACC", "ACCESS-0", refresh_token=refresh_token, expires_at=until)
    return await floor.follower(equities=account)


def activities(floor: Floor, venue: Venue, box: SecretBox) -> RefreshActivities:
    return RefreshActivities(RefreshStore(floor.database, box), {"tradier": cast("Broker", venue)}, lead=LEAD)


async def round_of(floor: Floor, venue: Venue, box: SecretBox) -> RefreshRound:
    return await ActivityEnvironment().run(activities(floor, venue, box).refresh_credentials)


async def row_of(floor: Floor, follower_id: str) -> dict[str, Any]:
    (row,) = await floor.rows("SELECT * FROM credentials WHERE cred_ref = %s", credential_ref(follower_id, "tradier"))
    return row


async def kept(floor: Floor, box: SecretBox, follower_id: str) -> BrokerCredentials:
    row = await row_of(floor, follower_id)
    return unsealed(row["cred_ref"], box.open(row["key_id"], bytes(row["sealed"]), aad=row["cred_ref"]), "paper")


async def told(floor: Floor) -> list[tuple[str, str | None]]:
    rows = await floor.rows("SELECT action, payload FROM audit_events WHERE entity = 'credential' ORDER BY event_id")
    return [(row["action"], row["payload"].get("reason")) for row in rows]


async def test_a_token_is_exchanged_before_it_expires_and_only_then(floor: Floor, box: SecretBox) -> None:
    soon, later = await token(floor), await token(floor, timedelta(hours=2))
    venue = Venue()
    assert await round_of(floor, venue, box) == RefreshRound(refreshed=1)
    new = await kept(floor, box, soon)
    assert (new.key_id, new.secret, new.refresh_token) == ("ACC", "ACCESS-1", "REFRESH-1")
    row = await row_of(floor, soon)
    assert (row["version"], row["status"], row["expires_at"]) == (2, "active", new.expires_at)
    assert (await kept(floor, box, later)).secret == "ACCESS-0"
    assert await told(floor) == [("refreshed", None)]
    assert await round_of(floor, venue, box) == RefreshRound()


async def test_two_workers_never_use_one_refresh_token_twice(floor: Floor, box: SecretBox) -> None:
    follower = await token(floor)
    venue = Venue(hold=asyncio.Event())
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first = group.create_task(round_of(floor, venue, box))
        await venue.asked.wait()
        # The second one comes while the first waits for the venue's answer, and must not wait for it.
        assert await round_of(floor, venue, box) == RefreshRound()
        assert venue.hold is not None
        venue.hold.set()
    assert first.result() == RefreshRound(refreshed=1)
    assert venue.used == ["REFRESH-0"]
    assert (await kept(floor, box, follower)).secret == "ACCESS-1"


async def test_the_old_token_stays_until_the_new_one_is_stored(floor: Floor, box: SecretBox) -> None:
    follower = await token(floor)
    venue = Venue(hold=asyncio.Event())
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(round_of(floor, venue, box))
        await venue.asked.wait()
        assert (await kept(floor, box, follower)).secret == "ACCESS-0", "orders go on with it meanwhile"
        assert venue.hold is not None
        venue.hold.set()
    assert (await kept(floor, box, follower)).refresh_token == "REFRESH-1"


async def test_an_owners_update_during_the_exchange_stands(floor: Floor, box: SecretBox) -> None:
    follower = await token(floor)
    venue = Venue(hold=asyncio.Event())
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(round_of(floor, venue, box))
        await venue.asked.wait()
        store = CredentialStore(floor.database, box)
        account = BrokerAccount("tradier", "ACC", "OWNERS")
        await store.replace(floor.tenant_id, follower, Which.EQUITIES, account, actor=ACTOR, once=Once("p", "k", "f"))
        assert venue.hold is not None
        venue.hold.set()
    assert running.result() == RefreshRound()
    assert (await kept(floor, box, follower)).secret == "OWNERS"


async def test_a_refused_exchange_breaks_the_credential_and_no_other(floor: Floor, box: SecretBox) -> None:
    one, other = await token(floor, refresh_token="USED"), await token(floor)
    assert await round_of(floor, Venue(used=["USED"]), box) == RefreshRound(refreshed=1, broken=1)
    row = await row_of(floor, one)
    assert (row["status"], row["broken_reason"]) == ("broken", "revoked")
    assert (await row_of(floor, other))["status"] == "active"
    assert sorted(await told(floor), key=str) == [("broken", "revoked"), ("refreshed", None)]


async def test_a_venue_that_is_down_is_asked_again_until_the_token_is_over(floor: Floor, box: SecretBox) -> None:
    follower = await token(floor)
    venue = Venue(error=VenueUnavailable("no_answer", "time-out"))
    assert await round_of(floor, venue, box) == RefreshRound(later=1)
    assert (await row_of(floor, follower))["status"] == "active"
    await floor.rows("UPDATE credentials SET expires_at = now() - interval '1 second'")
    assert await round_of(floor, venue, box) == RefreshRound(broken=1)
    assert (await row_of(floor, follower))["broken_reason"] == "expired"


async def test_a_token_that_cannot_be_exchanged_breaks_when_it_is_over(floor: Floor, box: SecretBox) -> None:
    follower = await token(floor, refresh_token=None)
    assert await round_of(floor, Venue(), box) == RefreshRound(later=1)
    await floor.rows("UPDATE credentials SET expires_at = now() - interval '1 second'")
    assert await round_of(floor, Venue(), box) == RefreshRound(broken=1)
    assert (await row_of(floor, follower))["broken_reason"] == "expired"


async def test_what_cannot_be_opened_breaks(floor: Floor, box: SecretBox) -> None:
    follower = await token(floor)
    await floor.rows("UPDATE credentials SET sealed = sealed || '\\x00'")
    assert await round_of(floor, Venue(), box) == RefreshRound(broken=1)
    assert (await row_of(floor, follower))["broken_reason"] == "cannot_be_opened"


@pytest.mark.parametrize("failures", [1, 3])
async def test_a_new_token_is_held_until_the_database_is_back(floor: Floor, box: SecretBox, failures: int) -> None:
    follower, venue, left = await token(floor), Venue(), failures

    class Away(RefreshStore):
        async def _renew(self, *given: Any) -> bool:
            nonlocal left
            left -= 1
            if left >= 0:
                raise StoreUnavailable("the database does not answer")
            return await super()._renew(*given)

    store, brokers = Away(floor.database, box), {"tradier": cast("Broker", venue)}
    patient = RefreshActivities(store, brokers, lead=LEAD, waits_s=(0, 0, 0))
    assert await ActivityEnvironment().run(patient.refresh_credentials) == RefreshRound(refreshed=1)
    assert venue.used == ["REFRESH-0"]
    assert (await kept(floor, box, follower)).refresh_token == "REFRESH-1"


async def test_a_failure_of_ours_is_tried_again_in_the_next_round_and_tells_no_token(
    floor: Floor, box: SecretBox, caplog: pytest.LogCaptureFixture
) -> None:
    follower, venue = await token(floor), Venue()

    class Unlucky(RefreshStore):
        async def renew(self, taken: Any, new: BrokerCredentials) -> bool:
            raise RuntimeError("a fault of ours")

    unlucky = RefreshActivities(Unlucky(floor.database, box), {"tradier": cast("Broker", venue)}, lead=LEAD)
    assert await ActivityEnvironment().run(unlucky.refresh_credentials) == RefreshRound(later=1)
    assert (await kept(floor, box, follower)).secret == "ACCESS-0"
    assert follower in caplog.text
    for secret in ("ACCESS-", "REFRESH-"):
        assert secret not in caplog.text

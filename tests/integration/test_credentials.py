"""A broker's key that is not valid any more: its follower stops and says so, nobody else does, a new key mends it."""

import asyncio
import uuid
from typing import Any

from adapters.secretbox import SecretBox
from adapters.store.credentials import CredentialStore
from domain.credentials import Which
from domain.enrolment import BrokerAccount, NewFollower
from simulators.market.behaviour import Behaviour as Trading
from simulators.market.behaviour import Fault, FaultKind
from tests.world import ACTOR, World


class Bridged:
    """A follower at the simulated broker whose keys are like nothing else that is written anywhere."""

    def __init__(self, world: World, vault: str) -> None:
        self.world, self.vault = world, vault
        self.follower = f"F_{uuid.uuid4().hex[:12]}"
        self.secrets = [f"SECRET{uuid.uuid4().hex}"]

    async def enrol(self, behaviour: Trading | None = None) -> "Bridged":
        self.world.alpaca.add_account(self.follower, self.secrets[0], behaviour=behaviour)
        account = BrokerAccount("alpaca", self.follower, self.secrets[0])
        new = NewFollower(self.vault, self.follower, follower_id=self.follower, equities=account)
        await self.world.registry.create_follower(
            self.world.tenant_id, new, actor=ACTOR, once=self.world.once("credentials")
        )
        return self

    def renew_at_broker(self) -> None:
        """From now on the broker takes another key for the same account."""
        self.secrets.append(f"SECRET{uuid.uuid4().hex}")
        self.world.alpaca.exchange.accounts[self.follower].secret = self.secrets[-1]

    async def give(self) -> None:
        """As PUT /v1/followers/{id}/credentials/equities does it."""
        keys = self.world.settings.secrets.master_keys.get_secret_value()
        store = CredentialStore(self.world.database, SecretBox(keys))
        account, once = BrokerAccount("alpaca", self.follower, self.secrets[-1]), self.world.once("credentials")
        await store.replace(self.world.tenant_id, self.follower, Which.EQUITIES, account, actor=ACTOR, once=once)

    async def status(self) -> tuple[str, str | None]:
        (row,) = await self.world.rows("SELECT * FROM credentials WHERE cred_ref = %s", f"cred/{self.follower}/alpaca")
        return row["status"], row["broken_reason"]

    async def told(self) -> list[str]:
        rows = await self.world.rows(
            "SELECT action FROM audit_events WHERE entity = 'credential' AND entity_id = %s ORDER BY event_id",
            f"cred/{self.follower}/alpaca",
        )
        return [row["action"] for row in rows]


async def order(world: World, vault: str) -> tuple[str, dict[str, tuple[str, str | None]]]:
    """A manager order to its end: state and reason of each follower's."""
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    await world.settled(mo_id)
    return mo_id, {f: (row["state"], row["reason"]) for f, row in (await world.follower_orders(mo_id)).items()}


async def test_a_key_that_is_over_stops_its_follower_only_and_an_update_mends_it(world: World):
    vault = await world.vault()
    one, other = await Bridged(world, vault).enrol(), await Bridged(world, vault).enrol()
    hooked = await world.webhook(vault)
    rest = dict.fromkeys((other.follower, hooked), ("confirmed", None))
    one.renew_at_broker()

    _, states = await order(world, vault)
    assert states == {one.follower: ("rejected", "bad_credentials"), **rest}
    assert await one.status() == ("broken", "bad_credentials")
    assert await other.status() == ("active", None)

    mo_id, states = await order(world, vault)
    assert states == {one.follower: ("skipped", "credential_broken"), **rest}
    tried = await world.rows(
        "SELECT count(*) AS n FROM attempts JOIN follower_orders f USING (fo_id) "
        "WHERE f.mo_id = %s AND f.follower_id = %s",
        mo_id, one.follower,
    )  # fmt: skip
    assert tried[0]["n"] == 0, "a broken key is not tried again"

    await one.give()
    _, states = await order(world, vault)
    assert states == {one.follower: ("confirmed", None), **rest}
    assert await one.told() == ["broken", "updated"]
    assert await other.told() == []


async def test_an_order_whose_fate_is_open_waits_for_the_new_key_and_is_found_with_it(world: World):
    vault = await world.vault()
    one = await Bridged(world, vault).enrol(Trading(fault=Fault(kind=FaultKind.HANG_AFTER_BOOKING)))
    other = await Bridged(world, vault).enrol()
    mo_id = (await world.submit(vault, "buy", 10)).mo_id
    async with asyncio.timeout(60):
        while not world.alpaca.orders((await fo_id(world, mo_id, one)) or ""):
            await asyncio.sleep(0.02)
    one.renew_at_broker()
    async with asyncio.timeout(60):
        while await one.status() != ("broken", "bad_credentials"):
            await asyncio.sleep(0.1)
    orders = await world.follower_orders(mo_id)
    assert orders[one.follower]["state"] == "unknown"
    await world.until(mo_id, lambda o: o[other.follower]["state"] == "confirmed")

    await one.give()
    await world.settled(mo_id)
    found = (await world.follower_orders(mo_id))[one.follower]
    assert (found["state"], found["dispatch_attempts"]) == ("confirmed", 1)
    (booked,) = world.alpaca.orders(found["fo_id"])
    assert booked["booked"] == 1, "nothing was sent twice"
    assert await world.holding(one.follower) == 10


async def fo_id(world: World, mo_id: str, one: Bridged) -> str | None:
    row = (await world.follower_orders(mo_id)).get(one.follower)
    return None if row is None else str(row["fo_id"])


async def test_no_key_is_in_any_history_log_or_event(world: World):
    """After keys that worked, that were refused and that were replaced, and orders that were looked up with them."""
    vault = await world.vault()
    hangs = Trading(fault=Fault(kind=FaultKind.HANG_AFTER_BOOKING))
    found, refused = await Bridged(world, vault).enrol(hangs), await Bridged(world, vault).enrol()
    refused.renew_at_broker()
    mo_id, states = await order(world, vault)
    await refused.give()
    assert states == {found.follower: ("confirmed", None), refused.follower: ("rejected", "bad_credentials")}

    secrets = [*found.secrets, *refused.secrets]
    secrets += [part.partition(":")[2] for part in world.settings.secrets.master_keys.get_secret_value().split(",")]
    rows = await world.rows("SELECT cred_ref, sealed FROM credentials WHERE split_part(cred_ref, '/', 2) = ANY(%s)",
                            [found.follower, refused.follower])  # fmt: skip
    places = await histories(world)
    assert any(mo_id.encode() in raw for raw in places.values()), "the histories are these orders', and readable"
    places |= {path.name: path.read_bytes() for path in world.stack.layout.logs.iterdir() if path.is_file()}
    places |= {f"table {name}": await table(world, name) for name in ("audit_events", "attempts", "dead_letters")}
    for place, raw in places.items():
        for secret in secrets:
            assert secret.encode() not in raw, place
        for row in rows:
            assert bytes(row["sealed"]).hex().encode() not in raw, place


async def histories(world: World) -> dict[str, bytes]:
    """Every workflow's, payloads and failures as they are stored."""
    found = {}
    async for run in world.temporal.list_workflows():
        handle = world.temporal.get_workflow_handle(run.id, run_id=run.run_id)
        history = await handle.fetch_history()
        found[run.id] = b"".join(event.SerializeToString() for event in history.events)
    return found


async def table(world: World, name: str) -> bytes:
    rows: list[dict[str, Any]] = await world.rows(f"SELECT * FROM {name}")
    return repr(rows).encode()

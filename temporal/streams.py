"""How streams and callbacks reach the workflows that own orders, and how shards' heartbeats are read."""

import asyncio
import logging

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.streams import OrderOwner, StreamTally
from temporal import ids
from temporal.orders import EngineUnavailable, knock

SHARD_ACTIVITY = "stream_orders"
_log = logging.getLogger("vanta.streams")


class OrderOwners:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def venue_reported(self, owner: OrderOwner) -> None:
        """An order that has no owner yet, as its wave is still under way, or none any more, is no error.

        An owner that begins later reads the order as it is then.
        """
        handle = self._client.get_workflow_handle(_owner_id(owner))
        try:
            await handle.signal("venue_reported")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


class WakeUps:
    """The same for those who must not wait for the engine, nor fail with it: an owner that is not told polls."""

    def __init__(self, client: Client, *, timeout_s: float = 2) -> None:
        self._client = client
        self._owners = OrderOwners(client)
        self._timeout_s = timeout_s

    async def venue_reported(self, owner: OrderOwner) -> None:
        try:
            await knock(self._client)
            async with asyncio.timeout(self._timeout_s):
                await self._owners.venue_reported(owner)
        except (EngineUnavailable, RPCError, TimeoutError) as error:
            _log.warning("the owner of %s/%s was not woken: %s", owner.mo_id, owner.follower_id, error)


class HeartbeatShards:
    """What the pending activities of a workflow said with their last heartbeats: no signals, nothing stored."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tallies(self, workflow_id: str) -> list[StreamTally]:
        described = await self._client.get_workflow_handle(workflow_id).describe()
        found = []
        for pending in described.raw_description.pending_activities:
            if pending.activity_type.name == SHARD_ACTIVITY and pending.HasField("heartbeat_details"):
                numbers = await self._client.data_converter.decode(list(pending.heartbeat_details.payloads))
                found.append(StreamTally(*numbers))
        return found


def _owner_id(owner: OrderOwner) -> str:
    if owner.dead_letter_id is not None:
        return ids.redrive(owner.mo_id, owner.follower_id, owner.dead_letter_id)
    return ids.follower_order(owner.mo_id, owner.follower_id, owner.leg)

"""How streams reach the workflows that own orders, and how shards' heartbeats are read."""

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.streams import OrderOwner, StreamTally
from temporal import ids

SHARD_ACTIVITY = "stream_orders"


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

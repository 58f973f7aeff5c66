"""How much history an order's largest workflow has."""

from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from temporal import ids


@dataclass(frozen=True, slots=True)
class History:
    """The most events and the most bytes that any one workflow of the order has; pages included."""

    events: int
    size_bytes: int


async def largest(client: Client, mo_id: str) -> History:
    """Over the order's own workflow and those of its pages. Raises RPCError when the order has none."""
    found = [await _history(client, ids.mirror(mo_id))]
    try:
        while True:
            found.append(await _history(client, ids.shard(mo_id, len(found) - 1)))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    return History(max(h.events for h in found), max(h.size_bytes for h in found))


async def _history(client: Client, workflow_id: str) -> History:
    described = await client.get_workflow_handle(workflow_id).describe()
    info = described.raw_description.workflow_execution_info
    return History(described.history_length, info.history_size_bytes)

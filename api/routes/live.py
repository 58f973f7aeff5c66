"""An order's progress as it happens."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Header, Request

from api.deps import ManagerOrderId, OrderReader, ServicesDep
from api.event_stream import EventStream
from api.schemas.common import problems
from api.schemas.live import STREAM
from api.watching import Watching
from domain.errors import InvalidInput

if TYPE_CHECKING:
    from adapters.live import Feed

router = APIRouter(prefix="/v1/manager-orders", tags=["manager orders"])
_MOST = 2**63 - 1


def _last_event_id(
    given: Annotated[
        str,
        Header(
            alias="Last-Event-ID",
            pattern=r"^[0-9]{0,19}$",
            description="The id of the last event that you have: the stream goes on after it.",
            examples=["4711"],
        ),
    ] = "",
) -> int:
    number = int(given or 0)
    if number > _MOST:
        raise InvalidInput("Last-Event-ID", "is not the id of an event of this order")
    return number


async def _feed(
    caller: OrderReader,
    services: ServicesDep,
    mo_id: ManagerOrderId,
    after: Annotated[int, Depends(_last_event_id)],
) -> AsyncIterator["Feed"]:
    """Kept until the answer has been sent, so that a stream holds its place for as long as it lasts, and no longer."""
    async with services.live.watch(caller.tenant_id, mo_id, after) as feed:
        yield feed


@router.get(
    "/{mo_id}/events",
    operation_id="stream_manager_order_events",
    status_code=200,
    response_class=EventStream,
    responses={**STREAM, **problems(404, 429)},
)
async def stream_manager_order_events(
    request: Request, services: ServicesDep, feed: Annotated["Feed", Depends(_feed)]
) -> EventStream:
    """The order's progress as server-sent events: first what has happened already, then each step as it happens.

    Connect again with `Last-Event-ID` and the stream goes on after that event: none is lost and none comes twice.
    Events of one order come in the order of their ids. `end` says that the order is over and all has been told; stop
    then. `closed` says that the stream ends for another reason, and whether to come back. A comment comes where
    nothing else does, so that a connection that is dead shows.
    """
    token = request.headers["Authorization"].partition(" ")[2].strip()
    watching = Watching(feed, services.pace, lambda: services.gate.principal(token), services.live.stopping)
    return EventStream(watching.chunks(), write_timeout_s=services.pace.write_timeout_s)

"""Tradier's account events: a session over HTTP, then a socket that tells each change of an order.

From docs.tradier.com (/reference/websocket-account-data-streaming, /docs/account-streaming-responses): a session id
is good for five minutes, one session at a time; a heartbeat comes every minute. A subscription is not acknowledged, so
it is taken to stand with the first frame, or once the vendor has had a moment to refuse it; what is lost until then,
the poll finds. Whether an event carries the order's tag is unproven ("if available").
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp

from adapters.brokers.tradier_http import TradierHttp
from adapters.brokers.tradier_wire import json_value, order_ref, read_order, venue_error
from domain.errors import VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials, VenueOrder

_MAX_FRAME_BYTES = 1_000_000
_CONNECT_S = 10.0
_STANDS_AFTER_S = 2.0
# The tag of an order by the vendor's id, where it is known.
TagOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """`order` is None where the event lacks what a report needs: its tag, or quantity and average together."""

    ref: str
    order: VenueOrder | None


@dataclass(frozen=True, slots=True)
class TradierStream:
    """`silence_s` without a frame, a heartbeat included, ends a connection."""

    http: TradierHttp
    live_url: str
    paper_url: str
    silence_s: float

    async def events(self, credentials: BrokerCredentials, tag_of: TagOf) -> AsyncGenerator[OrderEvent | None, None]:
        """One connection; None once the subscription stands. Raises VenueUnavailable or VenueRefused."""
        subscription = {"events": ["order"], "sessionid": await self._session_id(credentials), "excludeAccounts": []}
        base = self.live_url if credentials.environment == "live" else self.paper_url
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.ws_connect(base.rstrip("/") + "/v1/accounts/events", max_msg_size=_MAX_FRAME_BYTES) as socket,
            ):
                await socket.send_str(json.dumps(subscription))
                stands = False
                async for event in self._frames(socket, tag_of):
                    if not stands:
                        stands = True
                        yield None
                    if event is not None:
                        yield event
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable("stream_broken", type(error).__name__) from None

    async def _session_id(self, credentials: BrokerCredentials) -> str:
        answer = await self.http.request(credentials, "POST", "/v1/accounts/events/session", form={})
        told = answer.body.get("stream")
        session_id = told.get("sessionid") if isinstance(told, dict) else None
        if answer.status != 200:
            raise venue_error(answer, credentials)
        if not isinstance(session_id, str) or not session_id:
            raise VenueUnavailable("unreadable_answer", "HTTP 200 without a session id")
        return session_id

    async def _frames(self, socket: aiohttp.ClientWebSocketResponse, tag_of: TagOf) -> AsyncIterator[OrderEvent | None]:
        """None for a frame that is no order's, and once the subscription has not been refused. Ends by raising."""
        wait = min(_STANDS_AFTER_S, self.silence_s)
        while True:
            try:
                frame = await socket.receive(timeout=wait)
            except TimeoutError:
                if wait < self.silence_s:
                    wait = self.silence_s
                    yield None
                    continue
                raise VenueUnavailable("stream_silent", f"nothing for {self.silence_s:g} s") from None
            wait = self.silence_s
            if frame.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                raise VenueUnavailable("stream_broken", f"the connection ended: {socket.close_code}")
            raw = frame.data if isinstance(frame.data, bytes) else str(frame.data).encode()
            yield _event(raw, tag_of)


def _event(raw: bytes, tag_of: TagOf) -> OrderEvent | None:
    """Raises VenueUnavailable or VenueRefused for a frame that says that nothing will come."""
    told = json_value(raw)
    if not isinstance(told, dict):
        return None
    if "error" in told:  # the form of errors on the socket is unproven; either way nothing more can be expected
        said = str(told["error"])[:200]
        raise VenueRefused("forbidden", said) if "access" in said.lower() else VenueUnavailable("stream_broken", said)
    ref = order_ref(told)
    if told.get("event") != "order" or ref is None:
        return None
    tag = told.get("tag") or tag_of(ref)
    # An event that omits the quantity would read as nothing filled.
    whole = isinstance(tag, str) and "exec_quantity" in told
    return OrderEvent(ref, read_order(told, str(tag)) if whole else None)

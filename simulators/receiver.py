"""The reference receiver: what a follower's developer would run, and what tests misuse on demand.

    python -m simulators.receiver --port 9000

`POST /v1/hooks/mirror/dispatch` (follower from the body) or `…/dispatch/{follower_id}` takes deliveries: both
signature forms are verified, deliveries are processed once per `webhook-id`. `POST /control/followers/{follower_id}`
with {"key": "whsec_…", "behaviour": {…}} registers a follower or changes its behaviour; `GET /received` reports. Test
deliveries are answered as orders are and counted apart, under `GET /tests`: no order is made of them. With
`behaviour.call_back` it tells by signed callbacks what it has filled; `GET /callbacks` shows the answers to them.
It has no authentication of its own: loopback only.
"""

import argparse
import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import InvalidInput
from domain.signing import WEBHOOK_ID, parse_secret, verify_standard, verify_vanta
from simulators.calling import CallBack, CallBackAnswer, Calls

DISPATCH = "/v1/hooks/mirror/dispatch"
_MAX_ATTEMPTS_KEPT = 100
_MAX_FOLLOWERS = 20_000
_HANG_S = 60  # longer than any sender waits
_log = logging.getLogger(__name__)


class Behaviour(BaseModel):
    """How a follower's endpoint answers. Counts are per delivery; `delay_ms` precedes every answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ok", "fail", "hang", "process_then_hang", "drop", "redirect", "huge", "drip"] = "ok"
    status: int = Field(default=500, ge=300, le=599, description="fail: this status")
    times: int | None = Field(default=None, ge=1, description="This many attempts misbehave, then ok; none: all.")
    retry_after: str | None = None
    location: str = Field(default="http://127.0.0.1:1/", description="redirect: where to")
    huge_bytes: int = Field(default=10_000_000, ge=1)
    delay_ms: int = Field(default=0, ge=0, le=60_000)
    fill_price: str | None = Field(default=None, description="ok: confirm the whole `qty_str` at this price.")
    answer: str | None = Field(default=None, description="ok: this body, as application/json.")
    call_back: CallBack | None = Field(default=None, description="What is told after the answer, signed.")


@dataclass(slots=True)
class Reception:
    """One attempt as it arrived; `at` in unix seconds."""

    at: float
    vanta_valid: bool
    standard_valid: bool


@dataclass(slots=True)
class Delivery:
    """All attempts of one delivery id. `processed` counts after de-duplication: it is 0 or 1, and 0 for a `test`."""

    follower_id: str
    delivery_id: str
    received: int = 0
    processed: int = 0
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    receptions: list[Reception] = field(default_factory=list)
    test: bool = False

    def process(self) -> None:
        """Make an order of it, once; of a test none is made."""
        self.processed = 0 if self.test else 1


@dataclass(slots=True)
class _Follower:
    keys: tuple[bytes, ...]
    behaviour: Behaviour


class Receiver:
    """A server on loopback with any number of followers; keeps the last `max_deliveries`.

    `port` 0 takes a free one. Use as an async context manager.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1", max_deliveries: int = 50_000) -> None:
        self._host, self._port = host, port
        self._max_deliveries = max_deliveries
        self._followers: dict[str, _Follower] = {}
        self._deliveries: OrderedDict[str, Delivery] = OrderedDict()
        self._tests: OrderedDict[str, Delivery] = OrderedDict()
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self.calls = Calls()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1_000_000)
        app.router.add_post(DISPATCH, self._dispatch)
        app.router.add_post(DISPATCH + "/{follower_id}", self._dispatch)
        app.router.add_post("/control/followers/{follower_id}", self._control)
        app.router.add_get("/received", self._report)
        app.router.add_get("/tests", self._report_tests)
        app.router.add_get("/callbacks", self._report_callbacks)
        app.router.add_get("/healthz", self._healthz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self.calls.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def url(self, follower_id: str) -> str:
        """Where this follower's deliveries go."""
        return f"{self.base_url}{DISPATCH}/{follower_id}"

    def expect(self, follower_id: str, *, key: bytes | Sequence[bytes], behaviour: Behaviour | None = None) -> None:
        """Register a follower, or replace its keys and behaviour."""
        keys = (key,) if isinstance(key, bytes) else tuple(key)
        if follower_id not in self._followers and len(self._followers) >= _MAX_FOLLOWERS:
            raise ValueError(f"more than {_MAX_FOLLOWERS} followers")
        self._followers[follower_id] = _Follower(keys, behaviour or Behaviour())

    def delivery(self, delivery_id: str) -> Delivery | None:
        return self._deliveries.get(delivery_id)

    def deliveries(self, follower_id: str | None = None) -> list[Delivery]:
        """Oldest first."""
        return [d for d in self._deliveries.values() if follower_id in (None, d.follower_id)]

    def tests(self, follower_id: str) -> list[Delivery]:
        """Test deliveries, oldest first."""
        return [d for d in self._tests.values() if d.follower_id == follower_id]

    async def wait_received(self, delivery_id: str, count: int = 1, timeout_s: float = 10) -> Delivery:
        """The delivery, once it has arrived `count` times. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(
                lambda: (d := self._deliveries.get(delivery_id)) is not None and d.received >= count
            )
        return self._deliveries[delivery_id]

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        follower_id = request.match_info.get("follower_id") or _follower_in(body)
        follower = self._followers.get(follower_id)
        if follower is None:
            return web.json_response({"reason": "unknown follower"}, status=404)
        delivery = await self._record(follower_id, follower, request, body)
        last = delivery.receptions[-1]
        if not (last.vanta_valid and last.standard_valid):
            return web.json_response({"reason": "signature does not verify"}, status=401)
        return await self._answer(request, follower.behaviour, delivery)

    async def _record(self, follower_id: str, follower: _Follower, request: web.Request, body: bytes) -> Delivery:
        now = time.time()
        reception = Reception(
            now,
            verify_vanta(follower.keys, request.headers, body, now=int(now)),
            verify_standard(follower.keys, request.headers, body, now=int(now)),
        )
        delivery_id = request.headers.get(WEBHOOK_ID, "")
        async with self._changed:
            test = _is_test(body)
            kept = self._tests if test else self._deliveries
            delivery = kept.setdefault(delivery_id, Delivery(follower_id, delivery_id, test=test))
            while len(kept) > self._max_deliveries:
                kept.popitem(last=False)
            delivery.received += 1
            delivery.body = body.decode(errors="replace")
            delivery.headers = {name.lower(): value for name, value in request.headers.items()}
            delivery.receptions[: max(0, len(delivery.receptions) - _MAX_ATTEMPTS_KEPT + 1)] = []
            delivery.receptions.append(reception)
            self._changed.notify_all()
        return delivery

    async def _answer(self, request: web.Request, how: Behaviour, delivery: Delivery) -> web.StreamResponse:
        if how.delay_ms:
            await asyncio.sleep(how.delay_ms / 1000)
        if how.kind == "ok" or (how.times is not None and delivery.received > how.times):
            if how.call_back is not None and not (delivery.test or delivery.processed):
                key = self._followers[delivery.follower_id].keys[0]
                self.calls.begin(how.call_back, key, delivery.delivery_id)
            delivery.process()
            return _ok(how, delivery)
        headers = {"Retry-After": how.retry_after} if how.retry_after is not None else {}
        match how.kind:
            case "fail":
                return web.json_response({"reason": "told to fail"}, status=how.status, headers=headers)
            case "redirect":
                return web.Response(status=307, headers={"Location": how.location})
            case "huge" | "drip":
                return await self._stream(request, how)
            case "process_then_hang":
                delivery.process()
                await self._hang()
            case "hang":
                await self._hang()
        # The answer has nowhere to go: this is the connection's end, without a byte.
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def call_back(
        self, api: str, follower_id: str, fo_id: str, confirmation_id: str, told: dict[str, Any]
    ) -> CallBackAnswer:
        """Tell one thing of an order, signed with the follower's newest key. Raises aiohttp.ClientError."""
        return await self.calls.tell(api, self._followers[follower_id].keys[0], fo_id, confirmation_id, told)

    async def _stream(self, request: web.Request, how: Behaviour) -> web.StreamResponse:
        """A 200 whose body is very long, or never ends at one byte per 20 ms."""
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            if how.kind == "huge":
                for _ in range(0, how.huge_bytes, 65_536):
                    await response.write(b" " * 65_536)
            else:
                for _ in range(_HANG_S * 50):
                    if self._closing.is_set():
                        break
                    await response.write(b" ")
                    await asyncio.sleep(0.02)
        except ConnectionError:
            _log.debug("the sender did not wait for the whole answer")
        return response

    async def _hang(self) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), _HANG_S)
        except TimeoutError:
            _log.debug("nobody closed a connection that hangs")

    async def _control(self, request: web.Request) -> web.Response:
        try:
            told: dict[str, Any] = await request.json()
            behaviour = Behaviour.model_validate(told.get("behaviour") or {})
            self.expect(request.match_info["follower_id"], key=parse_secret(str(told["key"])), behaviour=behaviour)
        except (KeyError, AttributeError, ValueError, ValidationError, InvalidInput):
            return web.json_response({"reason": 'send {"key": "whsec_…", "behaviour": {…}}'}, status=422)
        return web.Response(status=204)

    async def _report(self, request: web.Request) -> web.Response:
        """`?follower_id=` and `?delivery_id=` filter."""
        found = self.deliveries(request.query.get("follower_id"))
        wanted = request.query.get("delivery_id")
        return web.json_response([asdict(d) for d in found if wanted in (None, d.delivery_id)])

    async def _report_tests(self, request: web.Request) -> web.Response:
        """`?follower_id=` says whose."""
        return web.json_response([asdict(d) for d in self.tests(request.query.get("follower_id", ""))])

    async def _report_callbacks(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(said) for said in self.calls.answers])

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})


def _ok(how: Behaviour, delivery: Delivery) -> web.Response:
    if how.answer is not None:
        return web.Response(text=how.answer, content_type="application/json")
    if how.fill_price is None or delivery.test:
        return web.json_response({})
    qty = str(json.loads(delivery.body)["qty_str"])
    # The id comes from the delivery, so that a repeat reports the same fill and not a second one.
    return web.json_response({"fills": [{"fill_id": f"{delivery.delivery_id}-1", "qty": qty, "price": how.fill_price}]})


def _is_test(body: bytes) -> bool:
    """The body says so, which is signed; the header is only for whoever routes requests."""
    try:
        return json.loads(body).get("test") is True
    except (ValueError, AttributeError):
        return False


def _follower_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["follower_id"])
    except (ValueError, KeyError, TypeError):
        return ""


async def _serve(host: str, port: int) -> None:
    async with Receiver(port, host) as receiver:
        _log.info("receiver on %s%s", receiver.base_url, DISPATCH)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A follower's webhook receiver, for development.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(_serve(told.host, told.port))
    except KeyboardInterrupt:
        _log.info("stopped")


if __name__ == "__main__":
    main()

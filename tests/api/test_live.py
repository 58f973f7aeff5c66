"""An order's stream of events: over a server of its own, over its death, and at its bounds."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Message

from adapters.live import LiveOrders
from adapters.store.database import Database
from adapters.store.progress import Piece, Place
from adapters.store.registry import Registry
from api.app import create_app
from api.errors import from_domain
from api.event_stream import EventStream
from api.serving import Server
from domain.access import Role
from domain.errors import TooManyStreams
from settings import LiveSettings, Settings
from stack import Stack
from stack.dev_token import dev_token
from stack.ports import pick
from stack.probes import http_status
from tests.adapters.store.orders import Floor
from tests.api.conftest import Caller, problem
from tests.api.events import Event, Watched, watching
from tests.api.logins import log_in


@pytest.fixture
async def floor(database: Database, registry: Registry) -> Floor:
    tenant_id = str(uuid.uuid4())
    await registry.ensure_tenant(tenant_id, "Test tenant", actor="user:test")
    made = Floor(database, registry, tenant_id)
    await made.prepare()
    return made


@asynccontextmanager
async def serving(settings: Settings, **live: int) -> AsyncIterator[tuple[Server, str]]:
    """The API on a port of this very process; the server's `should_exit` stops it as SIGTERM does."""
    told = settings.model_copy(update={"live": LiveSettings(**live)})
    config = uvicorn.Config(create_app(told), port=0, log_config=None, timeout_graceful_shutdown=10)
    server = Server(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield server, f"http://127.0.0.1:{port}"
    server.should_exit = True
    await running


@pytest.fixture
async def server(stack: Stack) -> AsyncIterator[str]:
    """An API process; `stack.kill` and `stack.restart` know it as `api-live`."""
    port = pick(set(stack.ports().values()))
    await asyncio.to_thread(
        stack.start_process,
        "api-live",
        [sys.executable, "-m", "cli", "api"],
        {"VANTA_API__PORT": str(port)},
        ready=lambda: http_status(port, "/healthz") == 200,
    )
    yield f"http://127.0.0.1:{port}"
    await asyncio.to_thread(stack.end, "api-live")


def token_for(settings: Settings, tenant_id: str, **more: Any) -> str:
    return dev_token(settings, tenant_id=uuid.UUID(tenant_id), role="owner", scopes="orders:read", **more)


async def take(stream: AsyncIterator[Event], count: int) -> list[Event]:
    """The next `count` events that have ids."""
    found: list[Event] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            event = await anext(stream)
            found += [event] if event.id is not None else []
    return found


async def rest(stream: AsyncIterator[Event]) -> list[Event]:
    async with asyncio.timeout(20):
        return [event async for event in stream if not event.comment]


async def test_a_server_that_dies_loses_nothing_and_tells_nothing_twice(
    stack: Stack, server: str, settings: Settings, floor: Floor
) -> None:
    order, token = await Watched.placed(floor, 3), token_for(settings, floor.tenant_id)
    begun = len(await order.logged())
    async with watching(server, token, order.mo_id) as stream:
        told = await take(stream, begun)
        began = time.monotonic()
        await order.answer()
        told += await take(stream, 2)
        assert time.monotonic() - began < 5  # half a second when nothing else runs
        await asyncio.to_thread(stack.kill, "api-live")
    await order.answer()  # while nobody listens
    await asyncio.to_thread(stack.restart, "api-live")
    async with watching(server, token, order.mo_id, told[-1].id) as stream:
        told += await take(stream, 2)
        await order.settle()
        told += await rest(stream)
    assert [event.id for event in told if event.id is not None] == await order.logged()
    assert (told[-1].name, told[-1].id) == ("end", None)
    assert told[-1].data == {"mo_id": order.mo_id, "state": "settled", "follower_states": {"confirmed": 3}}
    assert [event.name for event in told if event.data.get("action") == "settled"] == ["order"]


async def test_a_server_that_stops_says_so_and_the_stream_goes_on_at_the_next(settings: Settings, floor: Floor) -> None:
    order, token = await Watched.placed(floor, 1), token_for(settings, floor.tenant_id)
    begun = len(await order.logged())
    async with serving(settings) as (server, url), watching(url, token, order.mo_id) as stream:
        told = await take(stream, begun)
        server.should_exit = True
        last = [event for event in await rest(stream) if event.name != "order"]
    assert [(event.name, event.data) for event in last] == [("closed", {"reason": "shutdown", "reconnect": True})]
    await order.settle()
    async with serving(settings) as (_, url), watching(url, token, order.mo_id, told[-1].id) as stream:
        told += await rest(stream)
    assert [event.id for event in told if event.id is not None] == await order.logged()


async def test_where_nothing_happens_a_comment_comes_and_a_login_that_is_revoked_ends_it(
    settings: Settings, floor: Floor, owner_execute: Callable[..., Awaitable[None]]
) -> None:
    order = await Watched.placed(floor, 1)
    login = await log_in(floor.database, settings, floor.tenant_id, Role.AUDITOR)
    async with (
        serving(settings, keep_alive_s=1, recheck_s=1) as (_, url),
        watching(url, login.token, order.mo_id) as stream,
        asyncio.timeout(20),
    ):
        while not (await anext(stream)).comment:
            pass
        await owner_execute("UPDATE sessions SET revoked_at = now() WHERE session_id = %s", login.session_id)
        heard = [event async for event in stream]
    assert (heard[-1].name, heard[-1].data) == ("closed", {"reason": "access-ended", "reconnect": False})


async def test_an_order_that_ended_before_is_told_whole(caller: Caller, database: Database, registry: Registry) -> None:
    floor = Floor(database, registry, caller.tenant_id)
    await floor.prepare()
    order = await Watched.placed(floor, 2)
    await order.settle()
    answer = await caller.get(f"/v1/manager-orders/{order.mo_id}/events")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    numbers = [int(line[4:]) for line in answer.text.splitlines() if line.startswith("id: ")]
    assert numbers == await order.logged()
    assert answer.text.startswith("retry: 1000\n\n")
    assert "event: end\n" in answer.text.split("\n\n")[-2] + "\n"
    again = await caller.http.get(
        f"/v1/manager-orders/{order.mo_id}/events", headers={"Last-Event-ID": str(numbers[-1])}
    )
    assert [block.partition("\n")[0] for block in again.text.split("\n\n") if block] == ["retry: 1000", "event: end"]


async def test_strangers_and_bad_ids_are_refused_before_anything_is_told(
    caller: Caller, stranger: Caller, database: Database, registry: Registry
) -> None:
    floor = Floor(database, registry, caller.tenant_id)
    await floor.prepare()
    path = f"/v1/manager-orders/{(await Watched.placed(floor, 1)).mo_id}/events"
    theirs = problem(await stranger.get(path), 404, "not-found", "mo_id")
    unknown = problem(await stranger.get("/v1/manager-orders/M-none/events"), 404, "not-found", "mo_id")
    assert theirs["detail"].replace(path.split("/")[3], "M-none") == unknown["detail"]
    for given in ("-1", "abc", "1.5", "9" * 19, "9" * 20, "1"):
        answer = await caller.http.get(path, headers={"Last-Event-ID": given})
        problem(answer, 422, "invalid-input", "Last-Event-ID")


class Nothing:
    """A log where nothing happens."""

    async def begin(self, tenant_id: str, mo_id: str, after: int) -> None:
        pass

    async def look(self, places: Sequence[Place], most: int) -> list[Piece]:
        return [Piece("dispatching", live=True, events=(), whole=True) for _ in places]


async def test_streams_are_bounded_by_tenant_and_by_process_and_an_end_makes_room() -> None:
    live = LiveOrders(Nothing(), LiveSettings(max_streams=3, max_streams_per_tenant=2))
    async with live.watch("a", "M-1"), live.watch("b", "M-2"):
        async with live.watch("a", "M-1"):
            with pytest.raises(TooManyStreams) as own:
                await live.watch("a", "M-1").__aenter__()
            with pytest.raises(TooManyStreams) as full:
                await live.watch("c", "M-1").__aenter__()
        assert (own.value.own, full.value.own) == (True, False)
        async with live.watch("a", "M-1"):
            pass
    await live.close()


@pytest.mark.parametrize(("own", "status"), [(True, 429), (False, 503)])
async def test_a_stream_that_has_no_room_is_told_when_to_try_again(own: bool, status: int) -> None:
    told = from_domain(TooManyStreams("no room", own=own))
    assert (told.status, told.kind, told.headers) == (status, "too-many-streams", {"Retry-After": "5"})


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    closed = asyncio.Event()

    async def chunks() -> Any:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.set()

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body") == b"b":
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with asyncio.timeout(10):
        await EventStream(chunks(), write_timeout_s=0.05)({"type": "http"}, receive, send)
    assert closed.is_set()
    assert all(message.get("more_body", True) for message in sent)  # cut, not ended


async def test_a_client_that_goes_ends_its_stream() -> None:
    live = LiveOrders(Nothing(), LiveSettings())
    async with live.watch("a", "M-1") as feed:

        async def chunks() -> Any:
            yield b"a"
            await feed.next()

        async def send(_: Message) -> None:
            pass

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async with asyncio.timeout(10):
            await EventStream(chunks(), write_timeout_s=5)({"type": "http"}, receive, send)
    await live.close()

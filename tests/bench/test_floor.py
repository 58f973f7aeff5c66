import secrets
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from bench import clients, floor
from bench.sink import Sink

Listening = tuple[Sink, str]
KEY = secrets.token_bytes(32)
POSTERS = [floor.post_all, clients.task_per_request, clients.with_httpx]


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    sink = Sink(KEY)
    app = web.Application()
    app.add_routes(sink.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield sink, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("post_all", POSTERS)
async def test_every_request_arrives_once_and_is_authentic(listening: Listening, post_all: clients.Client):
    sink, url = listening
    await post_all(floor.prepare(url, 20, KEY, 1_000), 3)
    assert sink.forged == 0
    assert [len(times) for times in sink.arrivals.values()] == [1] * 20


async def test_the_clock_starts_before_the_first_request(listening: Listening):
    sink, url = listening
    began = await floor.post_all(floor.prepare(url, 5, KEY, 1_000), 2)
    assert began < min(times[0] for times in sink.arrivals.values())


async def test_a_request_that_is_refused_is_an_error_and_not_a_fast_run(listening: Listening):
    _, url = listening
    with pytest.raises(aiohttp.ClientResponseError):
        await floor.post_all(floor.prepare(url, 5, secrets.token_bytes(32), 1_000), 2)


def test_a_body_is_as_long_as_asked_for():
    assert len(floor.prepare("http://127.0.0.1", 1, KEY, 1_000).body) == 1_000

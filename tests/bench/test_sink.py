import time

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bench.sink import Sink
from domain import signing

Client = TestClient[web.Request, web.Application]
KEY = b"k" * 32


@pytest.fixture
async def sink():
    receiver = Sink(KEY)
    app = web.Application()
    app.add_routes(receiver.routes())
    async with TestClient(TestServer(app)) as client:
        yield client


async def post(sink: Client, delivery_id: str, key: bytes = KEY) -> int:
    headers = signing.headers([key], delivery_id, int(time.time()), b"{}")
    async with sink.post("/F_1", data=b"{}", headers=headers) as answer:
        return answer.status


async def asked(sink: Client, path: str):
    async with sink.get(path) as answer:
        return await answer.json()


async def test_every_signed_request_is_counted_by_its_id(sink: Client):
    assert [await post(sink, name) for name in ("a", "b", "a")] == [204] * 3
    report = await asked(sink, "/report")
    assert {name: len(times) for name, times in report["arrivals"].items()} == {"a": 2, "b": 1}
    assert report["forged"] == 0


async def test_a_wrong_signature_is_refused_and_told(sink: Client):
    assert await post(sink, "a", b"x" * 32) == 401
    assert await asked(sink, "/report") == {"arrivals": {}, "forged": 1}


async def test_a_report_forgets_what_it_has_told(sink: Client):
    await post(sink, "a")
    await asked(sink, "/report")
    assert await asked(sink, "/report") == {"arrivals": {}, "forged": 0}

"""Sixty-four identical requests at once under each of many keys: one effect each, and one answer for all of them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import orjson
from starlette.types import ASGIApp

from adapters.idempotency import Answers
from adapters.kill.channel import open_redis
from adapters.store.answers import AnswerStore
from domain.access import Principal
from settings import Settings
from tests.api.conftest import SCOPES, Caller, FakeEngine
from tests.api.test_idempotency import ORDERS, an_order, with_parts, without_redis

AT_ONCE = 64
KEYS = 200
WITHOUT_REDIS = 8


@dataclass
class _Known:
    """Thousands of requests by one caller, whose token need not be read each time."""

    caller: Principal

    async def principal(self, _token: str) -> Principal:
        return self.caller


class _Unlimited:
    async def take(self, *_args: Any) -> Sequence[Any]:
        return ()


async def _ask(app: ASGIApp, caller: Caller, path: str, body: bytes, key: str) -> tuple[int, bytes]:
    """A POST without httpx, which would take longer than the application."""
    headers = {
        "host": "api.test", "authorization": caller.http.headers["Authorization"], "idempotency-key": key,
        "content-type": "application/json",
    }  # fmt: skip
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "root_path": "", "scheme": "http", "server": ("api.test", 80), "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    status, told = 0, b""

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        nonlocal status, told
        status = message.get("status", status)
        told += message.get("body", b"")

    await app(scope, receive, send)
    return status, told


async def _all(caller: Caller, path: str, body: Any, keys: Sequence[str]) -> list[bytes]:
    """The one answer of each key, once it is shown that everybody got it or was told to come back."""
    app = cast("Any", caller.http._transport).app
    raw = orjson.dumps(body)
    made = []
    for key in keys:
        answers = await asyncio.gather(*(_ask(app, caller, path, raw, key) for _ in range(AT_ONCE)))
        others = [told for status, told in answers if status != 201]
        assert all(orjson.loads(told)["type"] == "urn:vanta:problem:request-in-flight" for told in others), others[:1]
        [answer] = {told for status, told in answers if status == 201}
        made.append(answer)
    return made


async def test_each_key_has_one_effect(caller: Caller, settings: Settings, engine: FakeEngine) -> None:
    body = await an_order(caller)
    # Redis is there, however busy the machine is.
    redis = open_redis(settings.redis.model_copy(update={"timeout_s": 60}))
    answers = Answers(redis, AnswerStore(caller.database), lease=timedelta(minutes=5), patience_s=60)
    gate = _Known(Principal("developer", caller.tenant_id, frozenset(SCOPES)))
    async with with_parts(settings, caller, limiter=_Unlimited(), gate=gate, answers=answers) as there:
        orders = await _all(there, ORDERS, body, [f"order-{n}" for n in range(KEYS // 2)])
        vaults = await _all(there, "/v1/vaults", {"label": "A"}, [f"vault-{n}" for n in range(KEYS // 2)])
    await redis.aclose()
    assert len(set(orders)) == len(set(vaults)) == KEYS // 2
    assert set(Counter(order.mo_id for order in engine.admitted).values()) == {1}
    assert len(engine.admitted) == KEYS // 2
    assert (await caller.counts())["vaults"] == KEYS // 2 + 1


async def test_each_order_has_one_effect_while_redis_is_away(
    caller: Caller, settings: Settings, engine: FakeEngine
) -> None:
    body = await an_order(caller)
    async with without_redis(settings, caller) as there:
        orders = await _all(there, ORDERS, body, [f"order-{n}" for n in range(WITHOUT_REDIS)])
    assert len(set(orders)) == len(engine.admitted) == WITHOUT_REDIS
